"""Who is alive, by what this process has seen itself: no clock is compared with another machine's.

A heartbeat is a mark that changes; how long it has not changed is measured here, and only while we
were looking, and could write one ourselves: after a pause of our own, or of the database, everybody
gets the time to beat again.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ovara.conf import ovara_settings
from ovara.times import now

# Between two looks, and after a heartbeat of our own, at most so many count as watched.
MAX_STEP_HEARTBEATS = 2


@dataclass(slots=True)
class _Seen:
    """A node's newest mark, since when we have known it, and how old it seemed then."""

    mark: datetime
    since: float
    age_seconds: float


class Verdict(NamedTuple):
    """Node ids. `silent`: without a heartbeat for the lapse, before our own eyes."""

    alive: set[uuid.UUID]
    silent: set[uuid.UUID]


class Heartbeats:
    """What this process has seen of the nodes' heartbeats; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[uuid.UUID, _Seen] = {}
        # Seconds that we have watched.
        self._watched = 0.0
        self._looked_at = time.monotonic()
        # When a heartbeat of ours was written; None in a process that has none.
        self._beaten_at: float | None = None
        # A forked child is no node.
        os.register_at_fork(after_in_child=self.ended)

    def beaten(self) -> None:
        """A heartbeat of this process was written, so the others' can be."""
        self._beaten_at = time.monotonic()

    def ended(self) -> None:
        """This process has no heartbeat any more."""
        self._beaten_at = None

    def look(self, marks: Iterable[tuple[uuid.UUID, datetime]]) -> Verdict:
        """Judge nodes by their heartbeats as the database has them now.

        One that was never seen before is judged by the clocks: alive, or neither.
        """
        lapse = ovara_settings().node_lapse_seconds
        alive: set[uuid.UUID] = set()
        silent: set[uuid.UUID] = set()
        with self._lock:
            self._advance()
            for key, mark in marks:
                seen = self._nodes.get(key)
                if seen is None:
                    age = max(0.0, (now() - mark).total_seconds())
                    seen = self._nodes[key] = _Seen(mark, self._watched, age)
                elif seen.mark != mark:
                    seen.mark, seen.since, seen.age_seconds = mark, self._watched, 0.0
                silence = self._watched - seen.since
                if silence >= lapse:
                    silent.add(key)
                elif silence + seen.age_seconds < lapse:
                    alive.add(key)
        return Verdict(alive, silent)

    def _advance(self) -> None:
        at = time.monotonic()
        most = MAX_STEP_HEARTBEATS * ovara_settings().node_heartbeat_seconds
        # A database that takes no heartbeat of ours takes nobody's, though it be read as ever.
        until = at if self._beaten_at is None else min(at, self._beaten_at + most)
        self._watched += max(0.0, min(until - self._looked_at, most))
        self._looked_at = at


heartbeats = Heartbeats()

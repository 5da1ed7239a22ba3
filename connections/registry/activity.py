"""The heartbeat: this node lives, and who of its connections was heard."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TypeVar

from connections.models import Connection, Node
from ovara.times import now
from sessions_app.sessions import sessions_touch

T = TypeVar("T")

# Rows in one UPDATE: under SQLite's limit of variables in a statement.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Beat:
    """`heard` and `active` are the connections with a frame, or a frame but `ping`, since the last
    beat; each is written as of now, so a row is at most one heartbeat behind."""

    node_id: str
    heard: Collection[str] = ()
    active: Collection[str] = ()
    sessions: Collection[str] = field(default=())


def write_beats(jobs: Sequence[Beat]) -> list[bool]:
    """Write heartbeats; False for a node that others took for dead. From here on it is alive: who
    comes to it anew is live from the first moment."""
    return [_write(job, now()) for job in jobs]


def _write(job: Beat, moment: datetime) -> bool:
    own = Node.objects.filter(pk=job.node_id)
    alive = own.filter(stopped_at__isnull=True).update(last_heartbeat=moment)
    if not alive:
        own.update(stopped_at=None, last_heartbeat=moment)
    for ids in _chunks(job.heard):
        Connection.objects.filter(pk__in=ids).update(last_seen=moment)
    for ids in _chunks(job.active):
        Connection.objects.filter(pk__in=ids).update(last_active=moment)
    for session_ids in _chunks(job.sessions):
        sessions_touch(session_ids, moment)
    return bool(alive)


def _chunks(items: Collection[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk

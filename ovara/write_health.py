"""Whether the database takes what this process writes, by the newest attempt of any writer.

Reading says little: a database that is locked, full or read-only is still read. A node's heartbeat
is written every few seconds, so this is never old.
"""

from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger(__name__)

# An attempt that takes longer is as good as failed to whoever asks.
SLOW_SECONDS = 2.0


class WriteHealth:
    """What is known of this process's writes; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # writer → when the attempt began that it is making, `time.monotonic()`
        self._attempts: dict[str, float] = {}
        self._failing_since: float | None = None

    def attempting(self, writer: str) -> None:
        """`writer` is at work; repeated attempts at one batch count as one."""
        with self._lock:
            self._attempts.setdefault(writer, time.monotonic())

    def attempted(self, writer: str, error: Exception | None) -> None:
        """The database took what `writer` wrote, or `error` tells why not."""
        with self._lock:
            at = time.monotonic()
            self._attempts.pop(writer, None)
            failing_since = self._failing_since
            self._failing_since = None if error is None else failing_since or at
        if error is None and failing_since is not None:
            log.warning(
                "%s: the database takes writes again, after %.1f s", writer, at - failing_since
            )
        elif error is not None and failing_since is None:
            log.error("%s: the database takes no writes: %s", writer, error.__cause__ or error)

    def problem(self) -> str | None:
        """What is wrong, in words; None while all is well."""
        with self._lock:
            at = time.monotonic()
            if self._failing_since is not None:
                return f"no write has succeeded for {at - self._failing_since:.1f} s"
            slow = [one for one, began in self._attempts.items() if at - began > SLOW_SECONDS]
        return f"the {slow[0]} waits for the database" if slow else None


# Of everything that is written in batches: the journal and the registry.
write_health = WriteHealth()

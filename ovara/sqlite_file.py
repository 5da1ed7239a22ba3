"""The SQLite file is made once, and never again beneath a running process.

Where the file is away for a moment (a volume, a hand that moved it), SQLite would make an empty
one in its place, take the old one's write-ahead log for a stray, and throw away what is committed
there.

It has one writer at a time, and processes that share it can only try again. SQLite's own busy
handler does that every 100 ms, and between the transactions of a busy writer there is hardly a
millisecond: it was seen to starve for 8 s and more. So a statement tries again every few
milliseconds, and gives up at the time at which SQLite would.
"""

from __future__ import annotations

import functools
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

# How long a writer waits for the others' transactions before it gives up. Clients wait for their
# answers for 10 s, and whoever comes while a batch waits may wait as long again.
BUSY_TIMEOUT_SECONDS = 4.0
RETRY_SECONDS = (0.001, 0.005)
# Whoever has waited for a second tries so many times as often more: a queue of sorts. Eight
# processes with transactions of 0.1 s waited for 3.5 s at the longest, and with this for 2.
IMPATIENCE = 8.0
# Statements whose text is kept as SQLite wants it.
TEXTS_REMEMBERED = 1_000

# What this process has had open; the same path is not for a new database any more.
_known: set[str] = set()


class ExistingFile(sqlite3.Connection):
    """A connection to a file that is there, or to one whose place was never taken.

    `patience_seconds`: how long a statement waits for the others' transactions. Opening the file
    has the driver's own patience.
    """

    patience_seconds = BUSY_TIMEOUT_SECONDS

    def __init__(self, database: str | Path, *args: Any, **kwargs: Any) -> None:
        path = str(database)
        if _is_file(path):
            if path in _known or Path(f"{path}-wal").exists():
                path = f"file:{quote(path)}?mode=rw"
            _known.add(str(database))
        super().__init__(path, *args, **kwargs)
        self._path = str(database)
        self._identity = _identity(self._path)

    @property
    def is_current(self) -> bool:
        """Whether the file that is open is still the one at its path."""
        return _identity(self._path) == self._identity

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """A cursor of `factory`'s kind that waits."""
        return super().cursor(_patient(factory))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@functools.cache
def _patient(kind: Any) -> type[sqlite3.Cursor]:
    @functools.lru_cache(TEXTS_REMEMBERED)
    def converted(query: str) -> str:
        converted: str = kind.convert_query(None, query)
        return converted

    class PatientCursor(kind):
        def execute(self, *args: Any) -> Any:
            began_at = 0.0
            while True:
                try:
                    return super().execute(*args)
                except sqlite3.OperationalError as error:
                    began_at = began_at or time.monotonic()
                    waited = time.monotonic() - began_at
                    if not is_busy(error) or waited >= self.connection.patience_seconds:
                        raise
                pause(waited)

        def convert_query(self, query: str, *, param_names: Any = None) -> Any:
            """Django looks for its placeholders anew each time, and most texts come again."""
            if param_names is None:
                return converted(query)
            return super().convert_query(query, param_names=param_names)

    return PatientCursor


def pause(waited_seconds: float) -> None:
    """Sleep until it is worth a try again."""
    time.sleep(random.uniform(*RETRY_SECONDS) / (1 + IMPATIENCE * waited_seconds))


def is_busy(error: BaseException | None) -> bool:
    """Whether others were writing. In the midst of a transaction that began as a writer's this
    does not happen, so that the statement may be tried again."""
    # The other bytes say more closely why.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _is_file(path: str) -> bool:
    return path != ":memory:" and not path.startswith("file:")

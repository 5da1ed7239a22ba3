"""The SQLite file is made once, and never again beneath a running process.

Where the file is away for a moment (a volume, a hand that moved it), SQLite would make an empty
one in its place, take the old one's write-ahead log for a stray, and throw away what is committed
there.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

# What this process has had open; the same path is not for a new database any more.
_known: set[str] = set()


class ExistingFile(sqlite3.Connection):
    """A connection to a file that is there, or to one whose place was never taken."""

    def __init__(self, database: str | Path, *args: Any, **kwargs: Any) -> None:
        path = str(database)
        if _is_file(path):
            if path in _known or Path(f"{path}-wal").exists():
                path = f"file:{quote(path)}?mode=rw"
            _known.add(str(database))
        super().__init__(path, *args, **kwargs)


def _is_file(path: str) -> bool:
    return path != ":memory:" and not path.startswith("file:")

"""SQLite has one writer at a time: how those who write without pause take their turns.

Threads of this process take turns by a lock, which wakes whoever waits. Processes can only try
again (`sqlite_file.py`); a batch does that as a whole, within the same time as for the lock.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from django.db import OperationalError, connection

from ovara.database import UNSERVED
from ovara.sqlite_file import BUSY_TIMEOUT_SECONDS, is_busy, pause

Item = TypeVar("Item")
Result = TypeVar("Result")

_turn = threading.Lock()
# `file`: which database this thread's connection has open, see `_file_there`.
_opened = threading.local()
# Where one thread finds the database out of order, no other trusts what it has open: it may have
# been opened under other conditions (while it was still writable), and would say that all is well.
_failures = 0


def _renew_turn() -> None:
    """A parent's thread that held it at the moment of a fork would hold the child's for ever."""
    global _turn
    _turn = threading.Lock()


os.register_at_fork(after_in_child=_renew_turn)


def in_turn(write: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """`write`, which begins with its transaction, as soon as nobody else writes.

    For threads that write again and again: their connection stays open from batch to batch, since
    opening one takes longer than a commit.

    Raises:
        OperationalError: others wrote for `BUSY_TIMEOUT_SECONDS`, or the database is out of order.
    """

    @functools.wraps(write)
    def write_when_free(item: Item) -> Result:
        if connection.vendor != "sqlite":
            # These have queues of their own.
            connection.close_if_unusable_or_obsolete()
            return write(item)
        began_at = time.monotonic()
        if not _turn.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise OperationalError("database is locked by another thread of this process")
        try:
            _prepare_connection()
            return _write_waiting(began_at, write, item)
        except UNSERVED:
            global _failures
            _failures += 1
            raise
        finally:
            _turn.release()

    return write_when_free


def _write_waiting(began_at: float, write: Callable[[Item], Result], item: Item) -> Result:
    while True:
        try:
            return write(item)
        except OperationalError as error:
            waited = time.monotonic() - began_at
            if not is_busy(error.__cause__) or waited >= BUSY_TIMEOUT_SECONDS:
                raise
        pause(waited)


def _prepare_connection() -> None:
    """Have a connection to the file that is there now, one that doesn't wait for the others."""
    file = _file_there()
    if file != getattr(_opened, "file", None):
        # Another one has taken its place: what is written to the old one would be lost.
        connection.close()
    if connection.connection is None:
        connection.ensure_connection()
        opened: Any = connection.connection
        opened.patience_seconds = 0.0
        _opened.file = file


def _file_there() -> tuple[int, int, int]:
    """Device and inode of the file at the database's path, and how often it failed."""
    try:
        found = Path(connection.settings_dict["NAME"]).stat()
    except OSError as error:
        raise OperationalError(f"the database file can't be reached: {error.strerror}") from error
    return found.st_dev, found.st_ino, _failures

"""Reading the database from the event loop, in a few threads of its own."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connections,
)

from ovara.errors import Overloaded
from ovara.sqlite_file import ExistingFile

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Reads of this process that may run side by side; each thread holds one database connection.
READER_THREADS = 4

# What a database raises that does not serve now: gone, full, locked; and, on PostgreSQL, read-only.
UNSERVED = (OperationalError, InterfaceError, InternalError)
# What callers then get to read, as `Overloaded`.
NOT_SERVED = "The database can't be reached. Nothing was stored; try again."

_readers: ThreadPoolExecutor


def _begin() -> None:
    global _readers
    _readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="ovara-reader")


def _begin_anew() -> None:
    """In a forked child, which has none of its parent's threads, and must not use its sockets."""
    _begin()
    # PostgreSQL and MongoDB keep a pool of connections for the process.
    pools = getattr(connections["default"], "_connection_pools", None)
    if pools is not None:
        pools.clear()


_begin()
os.register_at_fork(after_in_child=_begin_anew)


def _read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """In a reader: it keeps an SQLite file open, since to open it, with what has to be set each
    time, takes longer than most reads."""
    _refresh()
    try:
        return function(*args, **kwargs)
    finally:
        _refresh()


def _refresh() -> None:
    """Close this thread's connection where the next use needs a new one; a pool gets it back."""
    database = connections["default"]
    opened = database.connection
    if not isinstance(opened, ExistingFile):
        close_old_connections()
    elif database.errors_occurred or database.in_atomic_block or not opened.is_current:
        database.close()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function`, which uses the ORM, in a reader thread.

    Raises:
        Overloaded: the database is gone, full, locked or read-only; nothing was stored.
    """
    call = functools.partial(_read, function, *args, **kwargs)
    try:
        return await asyncio.get_running_loop().run_in_executor(_readers, call)
    except UNSERVED as error:
        log.error("the database did not serve %s: %s", function.__name__, error)
        raise Overloaded(NOT_SERVED) from error

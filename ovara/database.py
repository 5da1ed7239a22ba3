"""Reading the database from the event loop, in a few threads of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
T = TypeVar("T")

# Reads of this process that may run side by side; each thread holds one database connection.
READER_THREADS = 4

_readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="ovara-reader")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function`, which uses the ORM, in a reader thread."""
    call = DatabaseSyncToAsync(function, thread_sensitive=False, executor=_readers)
    result: T = await call(*args, **kwargs)
    return result

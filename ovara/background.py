"""One event loop a process for everything that must keep an order.

In a server that is the server's own loop (`adopt`). In a shell, a command or a task queue's worker
it is a loop in a background thread, started by the first use: so synchronous code can wait for our
coroutines from any thread, without making and closing a loop a call.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_tasks: set[asyncio.Task[Any]] = set()


def adopt(loop: asyncio.AbstractEventLoop) -> None:
    """Make `loop` this process's loop: the server's own."""
    global _loop
    with _lock:
        _loop = loop


def release(loop: asyncio.AbstractEventLoop) -> None:
    """Forget `loop`; the next use starts one of its own."""
    global _loop
    with _lock:
        if _loop is loop:
            _loop = None


def main_loop() -> asyncio.AbstractEventLoop:
    """This process's loop, started if there is none."""
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="ovara-loop", daemon=True).start()
        return _loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on this process's loop and wait for its result, from synchronous code.

    Raises:
        RuntimeError: called in the loop's own thread, which would wait for itself for ever.
    """
    loop = main_loop()
    if _running_loop() is loop:
        coroutine.close()
        raise RuntimeError("This runs in the event loop already: await the coroutine instead.")
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


async def on_main_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await `coroutine` on this process's loop, from whatever loop the caller is in."""
    loop = main_loop()
    if _running_loop() is loop:
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def in_main_loop() -> bool:
    """Whether the caller runs in this process's loop."""
    return _loop is not None and _running_loop() is _loop


def call(function: Callable[..., object], *args: object) -> None:
    """Call `function` in this process's loop: at once if we are in it, else as soon as it can."""
    loop = main_loop()
    if _running_loop() is loop:
        function(*args)
    else:
        loop.call_soon_threadsafe(function, *args)


def start(coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Start a task of the running loop, keep a reference, and log the error that would end it."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _tasks.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s failed", task.get_name(), exc_info=error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

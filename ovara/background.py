"""One event loop a process for everything that must keep an order.

In a server that is the server's own loop (`adopt`). In a shell, a command or a task queue's worker
it is a loop in a background thread, started by the first use: so synchronous code can wait for our
coroutines from any thread, without making and closing a loop a call. Such a process may end as soon
as its caller has an answer, so the answer waits until everything that is to reach others is out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
# The one in a background thread, once it was needed.
_own: asyncio.AbstractEventLoop | None = None
_tasks: set[asyncio.Task[Any]] = set()
# What the caller from outside the loop has set under way, and waits for.
_deliveries: ContextVar[list[asyncio.Task[Any]] | None] = ContextVar("deliveries", default=None)

# How long an answer waits for what is to reach others: longer, and the layer is as good as away.
DELIVERY_SECONDS = 5.0


def _begin() -> None:
    """A forked child (a task queue's worker) has its parent's loop, but not that loop's thread."""
    global _lock, _loop, _own
    _lock, _loop, _own = threading.Lock(), None, None
    _tasks.clear()


os.register_at_fork(after_in_child=_begin)


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
    global _loop, _own
    with _lock:
        if _loop is None or _loop.is_closed():
            if _own is None:
                _own = asyncio.new_event_loop()
                threading.Thread(target=_own.run_forever, name="ovara-loop", daemon=True).start()
            _loop = _own
        return _loop


def _is_own() -> bool:
    """Whether this process's loop is the one in a background thread."""
    return _own is not None and _loop is _own


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on this process's loop and wait for its result, from synchronous code.

    Raises:
        RuntimeError: called in the loop's own thread, which would wait for itself for ever.
    """
    loop = main_loop()
    if _running_loop() is loop:
        coroutine.close()
        raise RuntimeError("This runs in the event loop already: await the coroutine instead.")
    return asyncio.run_coroutine_threadsafe(_complete(coroutine), loop).result()


async def on_main_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await `coroutine` on this process's loop, from whatever loop the caller is in."""
    if in_main_loop():
        return await coroutine
    loop = main_loop()
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_complete(coroutine), loop))


async def _complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """`coroutine`, and in a loop of our own also the deliveries that it has set under way."""
    if not _is_own():
        return await coroutine
    under_way: list[asyncio.Task[Any]] = []
    _deliveries.set(under_way)
    try:
        return await coroutine
    finally:
        while under_way:
            _, late = await asyncio.wait([under_way.pop()], timeout=DELIVERY_SECONDS)
            for task in late:
                log.warning("%s takes longer than %g s", task.get_name(), DELIVERY_SECONDS)


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


def tell(function: Callable[..., object], *args: object) -> None:
    """Like `call`, for what is to reach others: a loop of our own is waited for, as by `run`."""
    loop = main_loop()
    if _is_own() and _running_loop() is not loop:
        run(_call(function, *args))
    else:
        call(function, *args)


async def _call(function: Callable[..., object], *args: object) -> None:
    function(*args)


def start(
    coroutine: Coroutine[Any, Any, Any], *, name: str, delivers: bool = False
) -> asyncio.Task[Any]:
    """Start a task of the running loop, keep a reference, and log the error that would end it.

    `delivers`: it brings something to others, so a process that may end waits for it.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _tasks.add(task)
    task.add_done_callback(_finished)
    under_way = _deliveries.get()
    if delivers and under_way is not None:
        under_way.append(task)
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

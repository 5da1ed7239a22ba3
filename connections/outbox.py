"""What is on its way to one connection: bounded in bytes, and never waited for.

`put` hands a frame to the socket at once where the socket takes it at once: the send coroutine is
stepped in place, without a task. Where it would wait, the connection's own writer (a task) takes
over and drains what gathers meanwhile. So a publication to a thousand members costs a thousand
sends and no task, and waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from connections import metrics
from ovara import background

log = logging.getLogger(__name__)

# How long a farewell may take to reach a peer that reads slowly, before the socket is just closed.
FAREWELL_SECONDS = 3.0


class Socket(Protocol):
    """What the manager needs of a WebSocket.

    `send_text` begins in the task of whoever publishes, and goes on in another where it has to
    wait: so it may await what it likes, but not rely on which task it is in (`asyncio.timeout`).
    """

    def send_text(self, text: str, /) -> Coroutine[Any, Any, Any]: ...

    def close(self, code: int, reason: str, /) -> Coroutine[Any, Any, Any]: ...


def byte_size(text: str) -> int:
    """How many bytes `text` is on the wire."""
    return len(text) if text.isascii() else len(text.encode())


class Outbox:
    """The bounded queue before one socket.

    Args:
        socket: where it goes.
        connection_id: whose it is; what the last two are called with.
        max_bytes: how much may wait; more makes `put` call `on_overflow`.
        on_overflow: the peer reads too slowly; called once.
        on_broken: a send failed, the peer is gone; called once, in a later turn of the loop.
    """

    __slots__ = (
        "_closing",
        "_connection_id",
        "_max_bytes",
        "_on_broken",
        "_on_overflow",
        "_queue",
        "_socket",
        "_writer",
        "waiting",
    )

    def __init__(
        self,
        socket: Socket,
        connection_id: str,
        max_bytes: int,
        on_overflow: Callable[[str], object],
        on_broken: Callable[[str], object],
    ) -> None:
        self._socket = socket
        self._connection_id = connection_id
        self._max_bytes = max_bytes
        self._on_overflow = on_overflow
        self._on_broken = on_broken
        self._queue: deque[tuple[str, int]] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self.waiting = 0  # bytes

    def put(self, text: str, droppable: bool = False) -> None:
        """Send `text`; droppable frames are dropped once the outbox is half full."""
        if self._closing:
            return
        if self._writer is None:
            self._step(self._socket.send_text(text), text)
            return
        size = byte_size(text)
        if droppable and self.waiting > self._max_bytes // 2:
            metrics.DROPS.labels("slow_consumer").inc()
            return
        if self.waiting + size > self._max_bytes:
            metrics.DROPS.labels("slow_consumer").inc()
            self._on_overflow(self._connection_id)
            return
        self._enqueue(text, size)

    def put_soon(self, text: str) -> None:
        """Send `text`, which may wait a moment: here it gains nothing by that."""
        self.put(text)

    def close(self, farewell: str, code: int, reason: str, *, discard: bool) -> None:
        """Send `farewell` behind what waits (`discard`: instead of it), then close the socket."""
        if self._closing:
            return
        self._closing = True
        if discard and self._queue:
            metrics.DROPS.labels("slow_consumer").inc(len(self._queue))
            self._account(-sum(size for _, size in self._queue))
            self._queue.clear()
        if self._writer is None:
            self._step(self._socket.send_text(farewell), farewell)
        else:
            self._enqueue(farewell, byte_size(farewell))
        if self._writer is None:
            self._step(self._socket.close(code, reason), "")
        else:
            background.start(self._close_behind(self._writer, code, reason), name="farewell")

    def _enqueue(self, text: str, size: int) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append((text, size))
        self._account(size)

    def _step(self, coroutine: Coroutine[Any, Any, Any], text: str) -> None:
        """Run `coroutine` as far as it goes without waiting; a task for the rest, if any."""
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._broken(error)
            return
        size = byte_size(text)
        self._account(size)
        self._writer = background.start(
            self._write(_Resume(coroutine, waits_for), size), name="outbox"
        )

    async def _write(self, first: Awaitable[Any], size: int) -> None:
        try:
            await first
            self._account(-size)
            while self._queue:
                text, size = self._queue.popleft()
                await self._socket.send_text(text)
                self._account(-size)
        except Exception as error:
            self._broken(error)
        finally:
            self._writer = None

    async def _close_behind(self, writer: asyncio.Task[None], code: int, reason: str) -> None:
        """Close the socket when everything is out, farewell too, or when that takes too long."""
        await asyncio.wait([writer], timeout=FAREWELL_SECONDS)
        if not writer.done():
            writer.cancel()
            self._abandon()
        try:
            await self._socket.close(code, reason)
        except Exception as error:
            self._broken(error)

    def _account(self, size: int) -> None:
        self.waiting += size
        metrics.OUTBOX_BYTES.inc(size)

    def _broken(self, error: Exception) -> None:
        """The socket is gone. Where its reader knows that already, the reader's word counts."""
        log.info("a send failed, the peer is gone: %r", error)
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._on_broken, self._connection_id)
        self._abandon()

    def _abandon(self) -> None:
        self._account(-self.waiting)
        if self._queue:
            self._queue.clear()


class _Resume:
    """Go on with a coroutine that was stepped until it had to wait for `waits_for`."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, waits_for = self._coroutine, self._waits_for
        while True:
            value, thrown = None, None
            try:
                value = yield waits_for
            except BaseException as error:  # handed into the coroutine, which deals with it
                thrown = error
            try:
                waits_for = coroutine.send(value) if thrown is None else coroutine.throw(thrown)
            except StopIteration as stop:
                return stop.value

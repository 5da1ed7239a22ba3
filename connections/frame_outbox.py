"""The outbox where the server takes finished frames (`ovara.server.frames`): no coroutine, no task.

While the transport's buffer is below its high-water mark a frame is written at once, and a
publication's frame is built for its first member only. Above it frames wait here, bounded, until
the transport says that there is room again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from connections import metrics
from connections.outbox import FAREWELL_SECONDS
from ovara.server.frames import FrameTransport, text_frame


class _Newest:
    """The text that was sent last, by anybody, and its frame: a fan-out sends one text to many."""

    text = ""
    frame = text_frame("")


class FrameOutbox:
    """The bounded queue before one `FrameTransport`; see `Outbox`, whose methods it has.

    Args:
        transport: where it goes.
        max_bytes: how much may wait, the transport's buffer included; more makes `put` call
            `on_overflow`.
        on_overflow: the peer reads too slowly; called once.
    """

    __slots__ = ("_closing", "_max_bytes", "_on_overflow", "_queue", "_queued", "_transport")

    def __init__(
        self, transport: FrameTransport, max_bytes: int, on_overflow: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._max_bytes = max_bytes
        self._on_overflow = on_overflow
        self._queue: deque[bytes] | None = None
        self._queued = 0  # bytes
        self._closing = False
        transport.writing_resumed = self._drain

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not taken."""
        return self._queued + self._transport.buffered_bytes()

    def put(self, text: str, *, droppable: bool = False) -> None:
        """Send `text`; droppable frames are dropped once the outbox is half full."""
        if self._closing:
            return
        if text is not _Newest.text:
            _Newest.text, _Newest.frame = text, text_frame(text)
        if self._transport.is_writable and not self._queue:
            self._transport.write_frame(_Newest.frame)
        else:
            self._wait_in_line(_Newest.frame, droppable)

    def _wait_in_line(self, frame: bytes, droppable: bool) -> None:
        waiting = self.waiting
        if droppable and waiting > self._max_bytes // 2:
            metrics.DROPS.labels("slow_consumer").inc()
        elif waiting + len(frame) > self._max_bytes:
            metrics.DROPS.labels("slow_consumer").inc()
            self._on_overflow()
        else:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(frame)
            self._account(len(frame))

    def close(self, farewell: str, code: int, reason: str, *, discard: bool) -> None:
        """Send `farewell` behind what waits (`discard`: instead of it), then close the socket."""
        if self._closing:
            return
        self._closing = True
        if discard:
            metrics.DROPS.labels("slow_consumer").inc(len(self._queue or ()))
            self._abandon()
        if not self._queue:
            self._transport.write_frame(text_frame(farewell))
            self._transport.close(code, reason)
            return
        self._queue.append(text_frame(farewell))
        self._account(len(self._queue[-1]))
        timer = asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self._end, code, reason)
        self._transport.writing_resumed = lambda: self._drain_and_end(timer, code, reason)

    def _drain(self) -> None:
        queue = self._queue
        while queue and self._transport.is_writable:
            self._account(-len(queue[0]))
            self._transport.write_frame(queue.popleft())

    def _drain_and_end(self, timer: asyncio.TimerHandle, code: int, reason: str) -> None:
        self._drain()
        if not self._queue:
            timer.cancel()
            self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        self._abandon()
        self._transport.close(code, reason)

    def abandon(self) -> None:
        """The socket is gone."""
        self._closing = True
        self._abandon()

    def _abandon(self) -> None:
        self._account(-self._queued)
        self._queue = None

    def _account(self, size: int) -> None:
        self._queued += size
        if size:
            metrics.OUTBOX_BYTES.inc(size)

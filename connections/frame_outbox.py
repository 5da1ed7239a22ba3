"""The outbox where the server takes finished frames (`ovara.server.frames`): no coroutine, no task.

A publication's frame is built for its first member only. What one connection gets in one turn of
the event loop leaves in one write; what may wait a moment leaves with the next frame that may not.
While the transport's buffer is over its high-water mark frames wait here, bounded, until the
transport says that there is room again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from connections import metrics
from connections.outbox import FAREWELL_SECONDS
from ovara.server.frames import FrameTransport, text_frame

if TYPE_CHECKING:
    from connections.rounds import Round

# Frames that are written without waiting for the end of the turn: by their size, by their number.
# A write of so much costs more than what a second one would.
LARGE_BYTES = 8_192
MANY = 64
# How long what may wait a moment waits for company.
LINGER_SECONDS = 0.1
# Written in one turn of the loop, of those that waited in vain.
LINGERERS_A_TURN = 20


class Turn:
    """One loop's outboxes that have something to write: at the end of its turn, or in a moment.

    And the text that was sent last, by anybody, with its frame: a fan-out sends one text to many.
    """

    current: Turn | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting: list[FrameOutbox] = []
        self.lingering: deque[FrameOutbox] = deque()
        # conversation_id → the publications on their way to its members
        self.rounds: dict[str, Round] = {}
        self.text = ""
        self.frame = text_frame("")

    @classmethod
    def of_running_loop(cls) -> Turn:
        loop = asyncio.get_running_loop()
        if cls.current is None or cls.current.loop is not loop:
            cls.current = Turn(loop)
        return cls.current

    @classmethod
    def here(cls) -> Turn | None:
        """The running loop's, if it has one: not what a loop has left behind that was closed."""
        current = cls.current
        is_here = current is not None and current.loop is asyncio._get_running_loop()
        return current if is_here else None

    def add(self, outbox: FrameOutbox) -> None:
        """Let `outbox` write at the end of this turn."""
        if not self.waiting:
            self.loop.call_soon(self._end)
        self.waiting.append(outbox)

    def add_lingering(self, outbox: FrameOutbox) -> None:
        """Let `outbox` write in a moment, if nothing makes it write sooner."""
        if not self.lingering:
            self.loop.call_later(LINGER_SECONDS, self._end_lingering)
        self.lingering.append(outbox)

    def catch_up(self, connection_id: str) -> None:
        """Let a connection have what was published before what it is to be sent now."""
        # A list: what a member is put may end it, which is published, and begins another round.
        for under_way in list(self.rounds.values()):
            under_way.catch_up(connection_id)

    def frame_of(self, text: str) -> bytes:
        """The frame of `text`, made once for all who get it one after the other."""
        if text is not self.text:
            self.text, self.frame = text, text_frame(text)
        return self.frame

    def _end_lingering(self) -> None:
        written = 0
        while self.lingering and written < LINGERERS_A_TURN:
            written += self.lingering.popleft().end_lingering()
        if self.lingering:
            self.loop.call_soon(self._end_lingering)

    def _end(self) -> None:
        waiting, self.waiting = self.waiting, []
        for outbox in waiting:
            outbox.flush()


class FrameOutbox:
    """The bounded queue before one `FrameTransport`; see `Outbox`, whose methods it has.

    Args:
        transport: where it goes.
        connection_id: whose it is; what `on_overflow` is called with.
        max_bytes: how much may wait, the transport's buffer included; more makes `put` call
            `on_overflow`.
        on_overflow: the peer reads too slowly; called once.
    """

    __slots__ = (
        "_closing",
        "_connection_id",
        "_lingering",
        "_max_bytes",
        "_on_overflow",
        "_queue",
        "_queued",
        "_this_turn",
        "_transport",
        "_turn",
    )

    def __init__(
        self,
        transport: FrameTransport,
        connection_id: str,
        max_bytes: int,
        on_overflow: Callable[[str], object],
    ) -> None:
        self._transport = transport
        self._connection_id = connection_id
        self._max_bytes = max_bytes
        self._on_overflow = on_overflow
        self._turn = Turn.of_running_loop()
        # What this turn of the loop brought; None where it has brought nothing yet.
        self._this_turn: list[bytes] | None = None
        # What waits for company; None where nothing does.
        self._lingering: list[bytes] | None = None
        self._queue: deque[bytes] | None = None
        self._queued = 0  # bytes
        self._closing = False

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not taken."""
        return self._queued + self._transport.buffered_bytes()

    def put(self, text: str, droppable: bool = False) -> None:
        """Send `text`; droppable frames are dropped once the outbox is half full."""
        turn = self._turn
        if turn.rounds:
            turn.catch_up(self._connection_id)
        # `frame_of`, without the call.
        self.put_frame(turn.frame if text is turn.text else turn.frame_of(text), droppable)

    def put_frame(self, frame: bytes, droppable: bool = False) -> None:
        """`put`, of a frame that is made, and before which nothing is on its way."""
        if self._lingering is not None:
            self.end_lingering()
        frames = self._this_turn
        if frames is not None:
            frames.append(frame)
            if len(frames) > MANY or len(frame) > LARGE_BYTES:
                self.flush()
        elif not self._transport.is_writable or self._queue or self._closing:
            self._wait_in_line(frame, droppable)
        elif len(frame) > LARGE_BYTES:
            self._transport.write_frame(frame)
        else:
            self._this_turn = [frame]
            self._turn.add(self)

    def write_now(self, frames: bytes) -> bool:
        """Write whole frames at once, where nothing waits before them; whether it did."""
        if self._this_turn is None and self._lingering is None and self._is_free():
            self._transport.write_frame(frames)
            return True
        return False

    def put_soon(self, text: str) -> None:
        """Send `text` with the next frame, or in a moment: what may wait costs no write then."""
        if self._turn.rounds:
            self._turn.catch_up(self._connection_id)
        if self._lingering is not None:
            self._lingering.append(self._turn.frame_of(text))
        elif self._this_turn is None and self._is_free():
            self._lingering = [self._turn.frame_of(text)]
            self._turn.add_lingering(self)
        else:
            self.put(text)

    def _is_free(self) -> bool:
        """Whether a frame may be written now. `put` asks the same, without the call."""
        return self._transport.is_writable and not self._queue and not self._closing

    def end_lingering(self) -> bool:
        """Let what waited for company leave with this turn; whether anything did."""
        if self._lingering is None:
            return False
        self._this_turn, self._lingering = self._lingering, None
        self._turn.add(self)
        return True

    def flush(self) -> None:
        """Write what this turn brought."""
        frames = self._this_turn
        if frames is not None:
            self._this_turn = None
            self._transport.write_frame(frames[0] if len(frames) == 1 else b"".join(frames))

    def _wait_in_line(self, frame: bytes, droppable: bool) -> None:
        if self._closing:
            return
        waiting = self.waiting
        if droppable and waiting > self._max_bytes // 2:
            metrics.DROPS.labels("slow_consumer").inc()
        elif waiting + len(frame) > self._max_bytes:
            metrics.DROPS.labels("slow_consumer").inc()
            self._on_overflow(self._connection_id)
        else:
            self._enqueue(frame)

    def _enqueue(self, frame: bytes) -> None:
        if self._queue is None:
            self._queue = deque()
            self._transport.writing_resumed = self._drain
        self._queue.append(frame)
        self._account(len(frame))

    def close(self, farewell: str, code: int, reason: str, *, discard: bool) -> None:
        """Send `farewell` behind what waits (`discard`: instead of it), then close the socket."""
        if self._closing:
            return
        if not discard:
            self._turn.catch_up(self._connection_id)
        self._closing = True
        self.end_lingering()
        self.flush()
        if discard:
            metrics.DROPS.labels("slow_consumer").inc(len(self._queue or ()))
            self._abandon()
        if not self._queue:
            self._transport.write_frame(text_frame(farewell))
            self._transport.close(code, reason)
            return
        self._enqueue(text_frame(farewell))
        timer = self._turn.loop.call_later(FAREWELL_SECONDS, self._end, code, reason)
        self._transport.writing_resumed = lambda: self._drain_and_end(timer, code, reason)

    def _drain(self) -> None:
        queue = self._queue
        while queue and self._transport.is_writable:
            self._account(-len(queue[0]))
            self._transport.write_frame(queue.popleft())
        if not queue:
            # It has caught up: nothing is kept for it.
            self._queue = self._transport.writing_resumed = None

    def _drain_and_end(self, timer: asyncio.TimerHandle, code: int, reason: str) -> None:
        self._drain()
        if not self._queue:
            timer.cancel()
            self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        self._abandon()
        self._transport.close(code, reason)

    def _abandon(self) -> None:
        if self._queue:
            self._account(-self._queued)
        self._queue = None

    def _account(self, size: int) -> None:
        self._queued += size
        metrics.OUTBOX_BYTES.inc(size)

"""The events that wait for one application's `receive`. Small: most connections have none."""

from __future__ import annotations

import asyncio
from typing import Any

Event = dict[str, Any]

# Events that may wait for `receive` before no more is read from the peer.
MAX_WAITING = 16


class Mailbox:
    """First in, first out; one reader. The `Handler` of a connection that nobody has taken over.

    Args:
        transport: what is read from.
    """

    __slots__ = ("_events", "_transport", "_waiter")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._events: list[Event] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: Event) -> None:
        """Add an event, and wake the reader."""
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Event:
        """Wait for the oldest event, and take it."""
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        event = self._events.pop(0)
        if not self._events:
            self._transport.resume_reading()
        return event

    def take_all(self) -> list[Event]:
        """What waits, for a reader that wants no more."""
        events, self._events = self._events, []
        self._transport.resume_reading()
        return events

    # What the connection reports; see `frames.Handler`.

    def text_received(self, text: str) -> None:
        self._message({"type": "websocket.receive", "text": text})

    def binary_received(self, data: bytes) -> None:
        self._message({"type": "websocket.receive", "bytes": data})

    def closed(self, code: int, reason: str) -> None:
        self.put({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _message(self, event: Event) -> None:
        self.put(event)
        if len(self._events) >= MAX_WAITING:
            self._transport.pause_reading()

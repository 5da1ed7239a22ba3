"""This node's place on the channel layer: one channel, member of the groups it has people for.

Everything that goes out is enqueued and sent in order by one task; what gathers meanwhile for one
group travels in one message. Delivery over a layer is at most once: whatever must not be lost is in
the database, and clients notice the gap by its sequence.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer

from connections import metrics
from connections.publication import Publication
from ovara import background

log = logging.getLogger(__name__)

MESSAGE_TYPE = "ovara.items"
# Items that may wait for a slow or absent layer before the oldest are dropped.
CAPACITY = 50_000
# Items in one message at the most.
MAX_ITEMS = 500
# How long a join waits for its group: longer, and what other nodes publish is recovered instead.
GROUP_ADD_SECONDS = 2.0
RETRY_SECONDS = 1.0

Item = Publication | dict[str, Any]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]]).decode
_decode_publication = msgspec.msgpack.Decoder(Publication).decode
_decode_command = msgspec.msgpack.Decoder(dict[str, Any]).decode


def is_shared() -> bool:
    """Whether the channel layer reaches other processes."""
    return not isinstance(get_channel_layer(), InMemoryChannelLayer)


def pack(items: list[Item], origin: str) -> dict[str, Any]:
    """One message of the layer for `items`; `origin` is the node that sends it."""
    parts = [("p" if isinstance(item, Publication) else "c", item) for item in items]
    return {"type": MESSAGE_TYPE, "origin": origin, "items": _encode(parts)}


class Bus:
    """Joins and leaves groups, publishes to them, and hands on what arrives.

    Args:
        node_id: our name, by which we know our own echo.
        on_publication, on_command: called for what other processes sent, in order.
    """

    def __init__(
        self,
        node_id: str,
        on_publication: Callable[[Publication], object],
        on_command: Callable[[dict[str, Any]], object],
    ) -> None:
        self.node_id = node_id
        self._on_publication = on_publication
        self._on_command = on_command
        self._layer = get_channel_layer()
        self._shared = is_shared()
        self._channel = ""
        self._wanted: set[str] = set()
        self._present: set[str] = set()
        self._joined_events: dict[str, asyncio.Event] = {}
        self._outgoing: deque[tuple[str, Item]] = deque()
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make our channel and start receiving."""
        self._channel = await self._layer.new_channel()
        self._tasks = [
            background.start(self._receive(), name="bus receive"),
            background.start(self._work(), name="bus send"),
        ]

    async def stop(self) -> None:
        """Send what waits (for a moment), then stop."""
        try:
            async with asyncio.timeout(1):
                while self._outgoing:
                    self._wake.set()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("%d publications were not sent: the layer is slow", len(self._outgoing))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, group: str) -> None:
        """Be a member of `group`, as soon as the layer lets us."""
        self._wanted.add(group)
        self._changed.add(group)
        self._joined_events.setdefault(group, asyncio.Event())
        self._wake.set()

    def leave(self, group: str) -> None:
        """Be no member of `group` any more."""
        self._wanted.discard(group)
        self._changed.add(group)
        self._joined_events.pop(group, None)
        self._wake.set()

    async def joined(self, group: str) -> bool:
        """Wait until we are a member of `group`; False if the layer is too slow for that."""
        event = self._joined_events.get(group)
        if event is None or event.is_set():
            return event is not None
        try:
            async with asyncio.timeout(GROUP_ADD_SECONDS):
                await event.wait()
        except TimeoutError:
            log.warning("the channel layer did not add %s in time; going on without", group)
            return False
        return True

    def publish(self, group: str, item: Item) -> None:
        """Send `item` to every other node of `group`."""
        if not self._shared:
            return
        if len(self._outgoing) >= CAPACITY:
            self._outgoing.popleft()
            metrics.DROPS.labels("bus_full").inc()
        self._outgoing.append((group, item))
        metrics.QUEUE_DEPTH.labels("bus").set(len(self._outgoing))
        self._wake.set()

    async def _work(self) -> None:
        """Bring the groups in order, then send what waits, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._changed:
                    await self._change(next(iter(self._changed)))
                while self._outgoing:
                    await self._send_next()
                    if self._changed:
                        self._wake.set()
                        break
            except Exception as error:
                # Whatever a layer raises when its server is away: it is tried again.
                log.warning("the channel layer failed: %r", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _change(self, group: str) -> None:
        if group in self._wanted and group not in self._present:
            await self._layer.group_add(group, self._channel)
            self._present.add(group)
        elif group not in self._wanted and group in self._present:
            await self._layer.group_discard(group, self._channel)
            self._present.discard(group)
        self._changed.discard(group)
        if group in self._present and (event := self._joined_events.get(group)) is not None:
            event.set()

    async def _send_next(self) -> None:
        """Send the first item, together with those of the same group that follow it."""
        group = self._outgoing[0][0]
        items = [self._outgoing.popleft()[1]]
        while self._outgoing and self._outgoing[0][0] == group and len(items) < MAX_ITEMS:
            items.append(self._outgoing.popleft()[1])
        metrics.QUEUE_DEPTH.labels("bus").set(len(self._outgoing))
        try:
            await self._layer.group_send(group, pack(items, self.node_id))
        except Exception:
            metrics.DROPS.labels("bus_failed").inc(len(items))
            raise

    async def _receive(self) -> None:
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except Exception as error:
                log.warning("the channel layer failed to receive: %r", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        """Hand on one message; a bad one is logged, and the listener goes on."""
        if message.get("origin") == self.node_id:
            return
        try:
            for kind, raw in _decode(message["items"]):
                if kind == "p":
                    self._on_publication(_decode_publication(raw))
                else:
                    self._on_command(_decode_command(raw))
        except Exception:
            log.exception("a message of the channel layer could not be handled")


async def send_once(group: str, item: Item) -> None:
    """Send one item from a process that is no node."""
    await get_channel_layer().group_send(group, pack([item], ""))

"""This node's place on the channel layer: one channel, member of the groups it has people for.

Everything that goes out is enqueued and sent in order, by a task for each server of the layer
(`shard.py`); what gathers meanwhile for one group travels in one message. Delivery over a layer is
at most once: whatever must not be lost is in the database, clients notice a gap by its sequence,
and after an outage every node tells its clients to look (`resync`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer

from connections import metrics
from connections.publication import Publication
from connections.redis_layer import shard_count, shard_number
from connections.shard import Item, Shard
from ovara import background

log = logging.getLogger(__name__)

MESSAGE_TYPE = "ovara.items"
RETRY_SECONDS = 1.0
# How long the start and the end of a process wait for its layer.
START_SECONDS = 1.0
STOP_SECONDS = 1.0
# Every node is in it.
ALL_NODES = "nodes"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]]).decode
_decode_publication = msgspec.msgpack.Decoder(Publication).decode
_decode_command = msgspec.msgpack.Decoder(dict[str, Any]).decode


def is_shared() -> bool:
    """Whether the channel layer reaches other processes."""
    return not isinstance(get_channel_layer(), InMemoryChannelLayer)


def pack(items: list[Item], origin: str, **extra: Any) -> dict[str, Any]:
    """One message of the layer for `items`; `origin` is the node that sends it."""
    parts = [("p" if isinstance(item, Publication) else "c", item) for item in items]
    return {"type": MESSAGE_TYPE, "origin": origin, "items": _encode(parts), **extra}


class Bus:
    """Joins and leaves groups, publishes to them, and hands on what arrives.

    Args:
        node_id: our name, by which we know our own echo.
        on_publication, on_command: called for what other processes sent, in order.
        on_gap: called when publications of others may have passed us by, or ours them: with the
            group, or None for all.
    """

    def __init__(
        self,
        node_id: str,
        on_publication: Callable[[Publication], object],
        on_command: Callable[[dict[str, Any]], object],
        on_gap: Callable[[str | None], object],
    ) -> None:
        self.node_id = node_id
        self._on_publication = on_publication
        self._on_command = on_command
        self._layer = get_channel_layer()
        self._shared = is_shared()
        self._shards = [
            Shard(self._layer, number, node_id, self._pack, on_gap)
            for number in range(shard_count(self._layer))
        ]
        # (origin, shard) → the number of the newest message that came from there
        self._newest: dict[tuple[str, int], int] = {}
        self._receiver: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether every server of the layer answers."""
        return all(shard.is_up for shard in self._shards)

    async def start(self) -> None:
        """Start receiving and sending; a layer that is away is tried again until it is there."""
        self._receiver = background.start(self._receive(), name="bus receive")
        self.join(ALL_NODES)
        try:
            async with asyncio.timeout(START_SECONDS):
                for shard in self._shards:
                    await shard.ready.wait()
        except TimeoutError:
            log.error("the channel layer is away; this node starts without it")
            for shard in self._shards:
                shard.has_gap = True

    async def stop(self) -> None:
        """Send what waits (for a moment), then stop."""
        flushes = [asyncio.ensure_future(shard.flush()) for shard in self._shards]
        _, late = await asyncio.wait(flushes, timeout=STOP_SECONDS)
        tasks = [*late, *(task for shard in self._shards for task in shard.stop())]
        if self._receiver is not None:
            tasks.append(self._receiver)
        for task in tasks:
            task.cancel()
        # The layer unsubscribes in the end, and may wait for its server.
        await asyncio.wait(tasks, timeout=STOP_SECONDS)

    def join(self, group: str) -> None:
        """Be a member of `group`, as soon as the layer lets us; where it reaches others at all."""
        if self._shared:
            self._shard(group).join(group)

    def leave(self, group: str) -> None:
        """Be no member of `group` any more."""
        if self._shared:
            self._shard(group).leave(group)

    async def joined(self, group: str) -> bool:
        """Wait until we are a member of `group`; False if the layer is away or slow."""
        return not self._shared or await self._shard(group).joined(group)

    def publish(self, group: str, item: Item) -> None:
        """Send `item` to every other node of `group`."""
        if self._shared:
            self._shard(group).publish(group, item)
            metrics.QUEUE_DEPTH.labels("bus").set(sum(map(len, self._shards)))

    def _shard(self, group: str) -> Shard:
        return self._shards[shard_number(self._layer, group)]

    def _pack(self, items: list[Item], **extra: Any) -> dict[str, Any]:
        return pack(items, self.node_id, **extra)

    async def _receive(self) -> None:
        channel = ""
        while True:
            try:
                if not channel:
                    channel = await self._layer.new_channel()
                    for shard in self._shards:
                        shard.start(channel)
                message = await self._layer.receive(channel)
            except Exception as error:
                log.warning("the channel layer failed to receive: %r", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        """Hand on one message; a bad one is logged, and the listener goes on."""
        if message.get("origin") == self.node_id:
            if "probe" in message:
                self._shards[message["probe"]].echoed()
            return
        try:
            if self._is_repeated(message):
                return
            for kind, raw in _decode(message["items"]):
                if kind == "p":
                    self._on_publication(_decode_publication(raw))
                else:
                    self._on_command(_decode_command(raw))
        except Exception:
            log.exception("a message of the channel layer could not be handled")

    def _is_repeated(self, message: dict[str, Any]) -> bool:
        """The layer sends again where a connection was cut; what came already is dropped."""
        number = message.get("number")
        if number is None:
            return False
        key = (message["origin"], message["shard"])
        if number <= self._newest.get(key, 0):
            return True
        self._newest[key] = number
        return False


async def send_once(group: str, item: Item) -> None:
    """Send one item from a process that is no node."""
    await get_channel_layer().group_send(group, pack([item], ""))

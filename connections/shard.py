"""One server of the channel layer, as this node sees it: what goes there, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from connections import metrics
from connections.memberships import ANSWER_SECONDS, Layer, Memberships
from connections.publication import Publication
from connections.redis_layer import drop_connections, is_redis, on_connect, shard_number
from connections.shard_watch import Watch
from ovara import background
from ovara.logs import fields

log = logging.getLogger("connections")

# Items that may wait for a slow or absent layer before the oldest are dropped.
CAPACITY = 50_000
# Items in one message at the most.
MAX_ITEMS = 500

Item = Publication | dict[str, Any]
Pack = Callable[..., dict[str, Any]]


class Shard:
    """Keeps this node in its groups of one server, and sends to them in order.

    Args:
        number: its place among the layer's servers.
        pack: makes the layer's message of items.
        on_gap: called when publications of a group (None: of any) may have been lost on the way,
            here or to others.
    """

    def __init__(
        self,
        layer: Layer,
        number: int,
        node_id: str,
        pack: Pack,
        on_gap: Callable[[str | None], object],
    ) -> None:
        self.is_up = False
        # Whether something may have been lost since the shard last answered.
        self.has_gap = False
        # Set when the shard has answered for the first time.
        self.ready = asyncio.Event()
        self._layer = layer
        self._number = number
        self._pack = pack
        self._on_gap = on_gap
        self._label = metrics.CHANNEL_LAYER_UP.labels(str(number))
        self._memberships = Memberships(layer, on_gap)
        self._watch = Watch(
            self._send_probe, self._found, self._lost, self._begin_anew, once=not is_redis(layer)
        )
        self._probe_group = self._own_group(node_id)
        self._memberships.join(self._probe_group)
        self._outgoing: deque[tuple[str, Item]] = deque()
        self._wake = asyncio.Event()
        self._sent = 0
        self._tasks: list[asyncio.Task[None]] = []

    def _own_group(self, node_id: str) -> str:
        """A group of this node alone, on this shard."""
        number = 0
        while shard_number(self._layer, f"probe.{node_id}.{number}") != self._number:
            number += 1
        return f"probe.{node_id}.{number}"

    def start(self, channel: str) -> None:
        """Begin to work for `channel`, the node's own."""
        self._memberships.channel = channel
        self._tasks = [
            background.start(self._work(), name=f"bus send {self._number}"),
            background.start(self._watch.run(), name=f"bus probe {self._number}"),
        ]

    async def flush(self) -> None:
        """Return when nothing waits any more, or nothing can be sent."""
        while self._outgoing and self.is_up:
            self._wake.set()
            await asyncio.sleep(0.01)

    def stop(self) -> list[asyncio.Task[None]]:
        """Cancel what runs; returns it."""
        if self._outgoing:
            log.warning("%d publications were not sent: the layer is slow", len(self._outgoing))
        for task in self._tasks:
            task.cancel()
        return self._tasks

    def __len__(self) -> int:
        return len(self._outgoing)

    # Groups.

    def join(self, group: str) -> None:
        """Be a member of `group`, as soon as the shard lets us."""
        self._memberships.join(group)
        self._wake.set()

    def leave(self, group: str) -> None:
        """Be no member of `group` any more."""
        self._memberships.leave(group)
        self._wake.set()

    async def joined(self, group: str) -> bool:
        """Wait until we are a member of `group`; False if the shard is away or slow.

        What other nodes publish meanwhile is recovered when it is back."""
        if self._memberships.has_joined(group):
            return True
        return self.is_up and await self._memberships.joined(group)

    # Sending.

    def publish(self, group: str, item: Item) -> None:
        """Send `item` to every other node of `group`."""
        if not self.is_up and _is_recovered(item):
            self._drop(1, "bus_down")
            return
        if len(self._outgoing) >= CAPACITY:
            self._outgoing.popleft()
            self._drop(1, "bus_full")
        self._outgoing.append((group, item))
        self._wake.set()

    def _drop(self, count: int, reason: str) -> None:
        self.has_gap = True
        metrics.DROPS.labels(reason).inc(count)

    async def _work(self) -> None:
        """Bring the groups in order, then send what waits, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self.is_up and not self._memberships.is_settled:
                    await self._memberships.settle_one()
                while self._outgoing and self.is_up:
                    await self._send_next()
                    if not self._memberships.is_settled:
                        self._wake.set()
                        break
            except Exception as error:
                # Whatever a layer raises when its server is away.
                self._lost(error)

    async def _send_next(self) -> None:
        """Send the first item, together with those of the same group that follow it."""
        group = self._outgoing[0][0]
        items = [self._outgoing.popleft()[1]]
        while self._outgoing and self._outgoing[0][0] == group and len(items) < MAX_ITEMS:
            items.append(self._outgoing.popleft()[1])
        try:
            await self._send(group, items)
        except Exception:
            # Perhaps it arrived: not sent again, lest it comes twice.
            self._drop(len(items), "bus_failed")
            raise

    async def _send(self, group: str, items: list[Item], **extra: Any) -> None:
        self._sent += 1
        message = self._pack(items, shard=self._number, number=self._sent, **extra)
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._layer.group_send(group, message)

    # Lost and found.

    def echoed(self) -> None:
        """A probe of ours has come back."""
        self._watch.echoed()

    async def _send_probe(self) -> None:
        # While the shard is up `_work` does this.
        while not (self.is_up or self._memberships.is_settled):
            await self._memberships.settle_one()
        await self._send(self._probe_group, [], probe=self._number)

    def _lost(self, error: Exception) -> None:
        if self.is_up:
            log.error(fields("channel_layer_lost", shard=self._number, error=error))
        self.is_up = False
        self.has_gap = True
        self._label.set(0)
        self._watch.doubt()

    def _found(self) -> None:
        # The layer subscribes again by itself when a connection was cut, and tells nobody.
        on_connect(self._layer, self._number, self._reconnected)
        if not self.is_up:
            log.info(fields("channel_layer_found", shard=self._number))
        self.is_up = True
        self._label.set(1)
        self._wake.set()
        if self.has_gap:
            self.has_gap = False
            self._on_gap(None)
        self.ready.set()

    def _reconnected(self, connection: object) -> None:
        """What was published since the connection was cut has passed us by."""
        self._lost(ConnectionError("the connection was cut, and made again"))

    async def _begin_anew(self) -> None:
        """Groups are joined again over new connections."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await drop_connections(self._layer, self._number)
        except Exception as error:
            log.warning("the connections to the channel layer could not be closed: %r", error)
        self._memberships.begin_anew()


def _is_recovered(item: Item) -> bool:
    """Whether an item need not wait for a shard that is away: clients fetch it, or do without."""
    return isinstance(item, Publication) and bool(item.sequence or item.droppable)

"""One server of the channel layer, as this node sees it: what goes there, and whether it answers.

A layer's own calls say little about that: a publication that nobody hears succeeds as well. So the
node publishes a probe to itself, through the same connections as everything else, and takes a shard
for lost until one has come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import _consistent_hash

from connections import metrics
from connections.publication import Publication
from ovara import background
from ovara.conf import ovara_settings
from ovara.logs import fields

log = logging.getLogger("connections")

# Items that may wait for a slow or absent layer before the oldest are dropped.
CAPACITY = 50_000
# Items in one message at the most.
MAX_ITEMS = 500
# A call of the layer or a probe that takes longer says that the shard is lost.
ANSWER_SECONDS = 3.0
RETRY_SECONDS = 0.5
# After so many the connections to the shard are made anew: a dead one may look alive.
PROBES_IN_VAIN = 3

Item = Publication | dict[str, Any]
Pack = Callable[..., dict[str, Any]]


class Layer(Protocol):
    """What of a channel layer is used here."""

    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


def shard_count(layer: object) -> int:
    """How many servers the layer has."""
    if not isinstance(layer, RedisPubSubChannelLayer):
        return 1
    return len(layer._get_layer()._shards)


def shard_number(layer: object, group: str) -> int:
    """The place of the server that carries `group`, as the layer counts them."""
    if not isinstance(layer, RedisPubSubChannelLayer):
        return 0
    inner = layer._get_layer()
    return int(_consistent_hash(inner._get_group_channel_name(group), len(inner._shards)))


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
        self._probe_group = self._own_group(node_id)
        self._channel = ""
        self._wanted: set[str] = {self._probe_group}
        self._present: set[str] = set()
        self._changed: set[str] = {self._probe_group}
        self._joined_events: dict[str, asyncio.Event] = {}
        # Groups that somebody did not wait for to the end.
        self._late: set[str] = set()
        self._outgoing: deque[tuple[str, Item]] = deque()
        self._wake = asyncio.Event()
        self._doubt = asyncio.Event()
        self._echo = asyncio.Event()
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
        self._channel = channel
        self._doubt.set()
        self._tasks = [
            background.start(self._work(), name=f"bus send {self._number}"),
            background.start(self._watch(), name=f"bus probe {self._number}"),
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
        """Wait until we are a member of `group`; False if the shard is away or slow.

        What other nodes publish meanwhile is recovered when it is back."""
        event = self._joined_events.get(group)
        if event is None or event.is_set():
            return event is not None
        if not self.is_up:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await event.wait()
        except TimeoutError:
            log.warning("the channel layer did not add %s in time; going on without", group)
            self._late.add(group)
            return False
        return True

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
                while self._changed and self.is_up:
                    await self._change(next(iter(self._changed)))
                while self._outgoing and self.is_up:
                    await self._send_next()
                    if self._changed:
                        self._wake.set()
                        break
            except Exception as error:
                # Whatever a layer raises when its server is away.
                self._lost(error)

    async def _change(self, group: str) -> None:
        self._changed.discard(group)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if group in self._wanted and group not in self._present:
                    await self._layer.group_add(group, self._channel)
                    self._present.add(group)
                elif group not in self._wanted and group in self._present:
                    await self._layer.group_discard(group, self._channel)
                    self._present.discard(group)
        except BaseException:
            self._changed.add(group)
            raise
        if group in self._present and (event := self._joined_events.get(group)) is not None:
            event.set()
        if group in self._late:
            self._late.discard(group)
            self._on_gap(group)

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

    # Watching.

    def echoed(self) -> None:
        """A probe of ours has come back."""
        self._echo.set()

    def _lost(self, error: Exception) -> None:
        if self.is_up:
            log.error(fields("channel_layer_lost", shard=self._number, error=error))
        self.is_up = False
        self.has_gap = True
        self._label.set(0)
        self._doubt.set()

    async def _watch(self) -> None:
        """Send a probe every heartbeat, at once where there is doubt, for ever."""
        in_vain = 0
        while True:
            if await self._probe():
                in_vain = 0
                self._found()
                self.ready.set()
                if not isinstance(self._layer, RedisPubSubChannelLayer):
                    # Within a process nothing gets lost.
                    return
                await self._rest(ovara_settings().node_heartbeat_seconds)
                continue
            in_vain += 1
            if in_vain % PROBES_IN_VAIN == 0:
                await self._start_anew()
            await asyncio.sleep(RETRY_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._doubt.wait()
        except TimeoutError:
            return

    async def _probe(self) -> bool:
        """Whether what we publish comes back to us, and we are in all our groups."""
        self._doubt.clear()
        self._echo.clear()
        try:
            while self._changed and not self.is_up:
                await self._change(next(iter(self._changed)))
            await self._send(self._probe_group, [], probe=self._number)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._echo.wait()
        except Exception as error:
            self._lost(error)
            return False
        return not self._doubt.is_set()

    def _found(self) -> None:
        self._mind_reconnects()
        if not self.is_up:
            log.info(fields("channel_layer_found", shard=self._number))
        self.is_up = True
        self._label.set(1)
        self._wake.set()
        if self.has_gap:
            self.has_gap = False
            self._on_gap(None)

    # The layer's own connections. It subscribes again by itself when one was cut, and tells nobody.

    def _mind_reconnects(self) -> None:
        connection = self._pubsub_connection()
        if connection is not None:
            connection.register_connect_callback(self._reconnected)

    def _reconnected(self, connection: object) -> None:
        """What was published since the connection was cut has passed us by."""
        self._lost(ConnectionError("the connection was cut, and made again"))

    def _pubsub_connection(self) -> Any:
        if not isinstance(self._layer, RedisPubSubChannelLayer):
            return None
        pubsub = self._layer._get_layer()._shards[self._number]._pubsub
        return None if pubsub is None else pubsub.connection

    async def _start_anew(self) -> None:
        """Drop the connections to this shard; groups are joined again over new ones."""
        if not isinstance(self._layer, RedisPubSubChannelLayer):
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._layer._get_layer()._shards[self._number].flush()
        except Exception as error:
            log.warning("the connections to the channel layer could not be closed: %r", error)
        self._present.clear()
        self._changed |= self._wanted


def _is_recovered(item: Item) -> bool:
    """Whether an item need not wait for a shard that is away: clients fetch it, or do without."""
    return isinstance(item, Publication) and bool(item.sequence or item.droppable)

"""What `connections/redis_layer.py` takes for granted of the inside of `channels_redis`.

A newer `channels_redis` or `redis` may have changed it: then these say what, and where to look.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels_redis import utils
from channels_redis.pubsub import (
    RedisPubSubChannelLayer,
    RedisPubSubLoopLayer,
    RedisSingleShardConnection,
)
from redis.asyncio.connection import AbstractConnection

from connections import redis_layer
from tests.cluster.test_bus import configure
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.storeless


@contextmanager
def taken_for_granted(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        pytest.fail(
            f"channels_redis {version('channels_redis')} with redis {version('redis')}: {what}. "
            f"connections/redis_layer.py relies on it (docs/adr/0021-probes-and-resync.md): {error}"
        )


@pytest.fixture
def layer(redis_servers: list[RedisServer], settings: Any) -> Any:
    configure(settings, *redis_servers)
    return get_channel_layer()


@pytest.mark.parametrize(
    ("owner", "name", "arguments"),
    [
        (utils, "_consistent_hash", ["value", "ring_size"]),
        (RedisPubSubChannelLayer, "_get_layer", ["self"]),
        (RedisPubSubLoopLayer, "_get_group_channel_name", ["self", "group"]),
        (RedisSingleShardConnection, "flush", ["self"]),
        (AbstractConnection, "register_connect_callback", ["self", "callback"]),
    ],
)
def test_the_names_that_are_used_are_there(owner: Any, name: str, arguments: list[str]) -> None:
    with taken_for_granted(f"{owner.__name__}.{name}({', '.join(arguments)}) is not there"):
        assert list(inspect.signature(getattr(owner, name)).parameters) == arguments


async def test_a_layer_has_a_list_of_its_servers_and_each_a_connection_that_listens(
    layer: Any, redis_servers: list[RedisServer]
) -> None:
    with taken_for_granted("a loop's layer has no list `_shards`, one a server in their order"):
        shards = layer._get_layer()._shards
        assert [shard.host["address"] for shard in shards] == [one.url for one in redis_servers]
    channel = await layer.new_channel()
    # One of these groups is on each of the servers.
    for number in range(20):
        await layer.group_add(f"user.{number}", channel)
    with taken_for_granted("a shard has no `_pubsub` with the `connection` that listens"):
        connections = [shard._pubsub.connection for shard in shards]
        assert all(isinstance(one, AbstractConnection) for one in connections)
    await layer.flush()


async def test_a_group_is_on_the_server_that_its_number_says(layer: Any) -> None:
    inner = layer._get_layer()
    with taken_for_granted("the layer numbers its servers otherwise"):
        for number in range(50):
            group = f"user.{number}"
            expected = inner._get_shard(inner._get_group_channel_name(group))
            assert inner._shards[redis_layer.shard_number(layer, group)] is expected


async def test_a_shard_that_was_dropped_has_forgotten_its_groups_and_works_again(
    layer: Any,
) -> None:
    channel = await layer.new_channel()
    groups = [f"user.{number}" for number in range(20)]
    for group in groups:
        await layer.group_add(group, channel)
    for number in range(2):
        await redis_layer.drop_connections(layer, number)
    with taken_for_granted("flush() of one shard keeps its subscriptions, or breaks the layer"):
        assert not any(shard._subscribed_to for shard in layer._get_layer()._shards)
        for group in groups:
            await layer.group_add(group, channel)
            await layer.group_send(group, {"type": "test", "group": group})
            async with asyncio.timeout(5):
                assert (await layer.receive(channel))["group"] == group
    await layer.flush()


async def test_who_drops_connections_can_be_cancelled(layer: Any) -> None:
    """The layer's `flush` swallows the cancellation of whoever awaits it."""
    channel = await layer.new_channel()
    await layer.group_add("user.1", channel)
    number = redis_layer.shard_number(layer, "user.1")
    listening = layer._get_layer()._shards[number]._receive_task
    dropping = asyncio.create_task(redis_layer.drop_connections(layer, number))
    async with asyncio.timeout(5):
        # It tells nobody when it is cancelled.
        while not listening.cancelling():  # noqa: ASYNC110
            await asyncio.sleep(0)
    dropping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropping
    await layer.flush()

"""What this project knows of the inside of `channels_redis`' pub/sub layer, and nobody else does.

The layer says neither which of its servers carries a group nor that it has lost one, so some names
are used that it does not publish. ADR 21 says what each is for; test_redis_layer.py tells which of
them another version lacks.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from ovara import background


def is_redis(layer: object) -> bool:
    """Whether it is the layer that this module knows."""
    # Whoever has such a layer has loaded it. A tenth of a server's start, for those who have none.
    module: Any = sys.modules.get("channels_redis.pubsub")
    return module is not None and isinstance(layer, module.RedisPubSubChannelLayer)


def shard_count(layer: object) -> int:
    """How many servers the layer has."""
    return len(_inner(layer)._shards) if is_redis(layer) else 1


def shard_number(layer: object, group: str) -> int:
    """The place of the server that carries `group`, as the layer counts them."""
    if not is_redis(layer):
        return 0
    from channels_redis import utils

    inner = _inner(layer)
    channel = inner._get_group_channel_name(group)
    return int(utils._consistent_hash(channel, len(inner._shards)))


def on_connect(layer: object, number: int, callback: Callable[[object], object]) -> None:
    """Have `callback` called whenever the connection that listens to a server is made anew.

    Args:
        callback: a method; of this connection it is noted once, however often it is said. A layer
            that was dropped has another connection: say it again then.
    """
    if not is_redis(layer):
        return
    pubsub = _inner(layer)._shards[number]._pubsub
    if pubsub is not None and pubsub.connection is not None:
        pubsub.connection.register_connect_callback(callback)


async def drop_connections(layer: object, number: int) -> None:
    """Close the connections to one server; the layer makes new ones when it is used again, and
    has no subscription left there."""
    if not is_redis(layer):
        return
    # In a task of its own: `flush` takes whatever cancels it for the end of what it waits for, and
    # goes on, so that its caller would never hear that it is to end.
    flush = background.start(_inner(layer)._shards[number].flush(), name="drop connections")
    try:
        await asyncio.shield(flush)
    finally:
        flush.cancel()


def _inner(layer: Any) -> Any:
    """The part of the layer that belongs to the running loop."""
    return layer._get_layer()

"""Redis' traffic grows with nodes, not with people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import redis as redis_client

from tests.cluster.conftest import Cluster, MakeConversation
from tests.conftest import Connect
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer

SOCKETS = 50
MESSAGES = 20


def publishes(client: redis_client.Redis) -> int:
    """How many messages were published since the server started."""
    return int(client.info("commandstats").get("cmdstat_publish", {}).get("calls", 0))


async def test_a_group_has_one_member_a_node_and_a_message_is_published_once(
    redis_server: RedisServer,
    cluster: Cluster,
    connect: Connect,
    make_conversation: MakeConversation,
    joined: Callable[..., Awaitable[WireClient]],
) -> None:
    # No probe in the time of this test: everything that is published is counted.
    first, second = cluster.start(
        2,
        redis_server,
        OVARA_NODE_HEARTBEAT_SECONDS="60",
        OVARA_NODE_LAPSE_SECONDS="120",
        OVARA_MAX_CONNECTIONS_PER_USER="1000",
    )
    people = [first.make_user() for _ in range(SOCKETS)]
    reader = first.make_user()
    talk = await make_conversation(first, *people, reader)
    sockets = [await joined(first, one, talk) for one in people]
    there = await joined(second, reader, talk)
    with redis_client.Redis.from_url(redis_server.url) as redis:
        group = f"ovara__group__conversation.{talk}"
        # One is the first node with its 50 sockets, one the second.
        assert redis.pubsub_numsub(group) == [(group.encode(), 2)]
        await there.socket.close()
        deadline = time.monotonic() + 5
        while redis.pubsub_numsub(group) != [(group.encode(), 1)]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        there = await joined(second, reader, talk)

        # What the joins have set going has its end.
        await asyncio.sleep(1.5)
        before, began_at = publishes(redis), time.monotonic()
        for number in range(MESSAGES):
            await sockets[0].message(talk, f"number {number}")
            await there.expect("message")
        for client in sockets[1:]:
            for _ in range(MESSAGES):
                await client.expect("message")
        count, seconds = publishes(redis) - before, time.monotonic() - began_at
    # The conversation lists of everybody are told once a second, all in one message.
    assert MESSAGES <= count <= MESSAGES + 2 + seconds, count

"""SIGTERM moves a node's clients to the others, and loses nothing."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.cluster.conftest import Cluster, MakeConversation
from tests.conftest import Connect, ServerWith
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer
from tests.support.server import KINDS

CLIENTS = 10


@pytest.mark.parametrize("kind", KINDS)
async def test_a_drained_nodes_clients_are_on_the_other_within_seconds_and_miss_nothing(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    connect: Connect,
    joined: Callable[..., Awaitable[WireClient]],
    kind: Any,
) -> None:
    leaving, staying = cluster.start(2, redis_server, kind=kind)
    writer_account = leaving.make_user()
    people = [leaving.make_user() for _ in range(CLIENTS)]
    talk = await make_conversation(leaving, writer_account, *people)
    writer = await joined(staying, writer_account, talk)
    clients = [await joined(leaving, one, talk) for one in people]
    seen: list[list[int]] = [[] for _ in clients]

    async def follow(place: int) -> float:
        """Live as the browser's library does; the moment when the new connection had joined."""
        client = clients[place]
        end = await client.closed(timeout=15)
        assert end.code == 4412
        assert end.disconnect is not None
        seen[place] += [f["message"]["sequence"] for f in client.frames if f["type"] == "message"]
        await asyncio.sleep(end.disconnect["retry_after"])
        again = await connect(staying, people[place], client_id=client.client_id)
        assert again.welcome["session"]["resumed"]
        ack = await again.join(talk, since=max(seen[place], default=0))
        assert ack["recovered"]
        seen[place] += [message["sequence"] for message in ack["messages"]]
        clients[place] = again
        return time.monotonic()

    followers = [asyncio.create_task(follow(place)) for place in range(CLIENTS)]
    for number in range(10):
        await writer.message(talk, f"before {number}")
    began_at = time.monotonic()
    leaving.signal(signal.SIGTERM)
    for number in range(30):
        await writer.message(talk, f"meanwhile {number}")
        await asyncio.sleep(random.uniform(0, 0.1))
    moments = await asyncio.gather(*followers)
    assert max(moments) - began_at < 10
    assert max(moments) - min(moments) > 0.5, "they all came at the same moment"
    assert await asyncio.to_thread(leaving.wait) == 0
    last = await writer.message(talk, "the last")
    for place, client in enumerate(clients):
        await client.expect("message", message=last)
        live = [f["message"]["sequence"] for f in client.frames if f["type"] == "message"]
        assert [*seen[place], *live] == list(range(1, 41))


async def test_lists_elsewhere_hear_of_a_drained_nodes_last_messages(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    connect: Connect,
    joined: Callable[..., Awaitable[WireClient]],
) -> None:
    leaving, staying = cluster.start(2, redis_server)
    alice, bob = leaving.make_user(), leaving.make_user()
    talk = await make_conversation(leaving, alice, bob)
    writer, lister = await joined(leaving, alice, talk), await connect(staying, bob)
    await writer.message(talk, "told at once")
    await lister.expect("conversation_updated", conversation_id=talk, unread=1)
    # Lists hear of a conversation once a second; this node has no second left.
    await writer.message(talk, "the last")
    leaving.signal(signal.SIGTERM)
    await lister.expect("conversation_updated", conversation_id=talk, unread=2)
    assert await asyncio.to_thread(leaving.wait) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_second_sigterm_ends_at_once(
    server_with: ServerWith, connect: Connect, kind: Any
) -> None:
    """The drain is held up by a database that is locked: a write of ours holds it."""
    server = server_with(kind=kind)
    client = await connect(server, server.make_user())
    with server.database.write_lock():
        server.signal(signal.SIGTERM)
        assert (await client.closed()).code == 4412
        await asyncio.sleep(0.5)
        assert server.is_running
        began_at = time.monotonic()
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == -signal.SIGTERM
        assert time.monotonic() - began_at < 2

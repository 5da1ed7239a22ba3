"""Redis goes away and comes back: nobody dies, nothing durable stops, and everybody hears of it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

import httpx

from tests.cluster.conftest import Cluster, MakeConversation, soon
from tests.conftest import Connect
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess

Joined = Callable[..., Awaitable[WireClient]]
METRICS = "metrics-for-tests"


async def get(node: ServerProcess, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return await http.get(node.url + path, headers={"Authorization": f"Bearer {METRICS}"})


async def is_ready(node: ServerProcess) -> bool:
    return (await get(node, "/readyz")).status_code == 200


async def test_an_outage_stops_nothing_within_a_node_and_is_made_good_afterwards(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
    connect: Connect,
) -> None:
    first, second = cluster.start(2, redis_server, OVARA_METRICS_TOKEN=METRICS)
    alice, bob, carol, dan = (first.make_user() for _ in range(4))
    talk = await make_conversation(first, alice, bob, carol, dan)
    new_here = await make_conversation(first, carol)
    writer, near = await joined(first, alice, talk), await joined(first, carol, talk)
    far, removed = await joined(second, bob, talk), await joined(second, dan, talk)
    before = await writer.message(talk, "before")
    await far.expect("message")
    await removed.expect("message")

    redis_server.kill()
    for node in (first, second):
        await soon(lambda node=node: _is_down(node), "the nodes notice")
        answer = await get(node, "/readyz")
        assert (answer.status_code, answer.json()["failed"]) == (503, ["channel layer"])
    stored = [await writer.message(talk, f"during {number}") for number in range(5)]
    await near.expect("message", message=before)
    assert [(await near.expect("message"))["message"] for _ in stored] == stored
    began_at = time.monotonic()
    latecomer = await joined(first, carol, talk, new_here)
    assert time.monotonic() - began_at < 1.5, "a join waits for a layer that is known to be away"
    await latecomer.message(talk, "from a late one")
    await writer.expect("message")
    # The owner removes dan by the other node, which cannot tell dan's own: it finds out by itself.
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.delete(
            f"{first.url}/api/conversations/{talk}/participants/{dan.username}",
            headers={"Authorization": f"Bearer {alice.token()}"},
        )
    assert answer.status_code == 204

    async def is_out() -> bool:
        removed.frames.clear()
        await far.message(talk, "within the other node")
        return await removed.pending("message") == []

    await soon(is_out, "the other node takes dan out")
    assert await far.pending("message", "resync") == []

    redis_server.start()
    for client in (writer, near, far, latecomer):
        await client.expect("resync", timeout=10)
    for node in (first, second):
        await soon(lambda node=node: is_ready(node), "the nodes are ready again")
        assert 'ovara_channel_layer_up{shard="0"} 1.0' in (await get(node, "/metrics")).text
    page = await far.request({"type": "history", "conversation_id": talk, "after": 1, "limit": 6})
    assert page["messages"][:5] == stored
    assert page["messages"][5]["content"] == "from a late one"
    after = await writer.message(talk, "after")
    await far.expect("message", message=after)
    answer = await far.message(talk, "and back")
    await writer.expect("message", message=answer)
    assert all(node.is_running for node in (first, second))


async def _is_down(node: ServerProcess) -> bool:
    return 'ovara_channel_layer_up{shard="0"} 0.0' in (await get(node, "/metrics")).text


async def test_a_node_that_starts_without_redis_serves_and_joins_the_cluster_later(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
) -> None:
    redis_server.kill()
    first, second = cluster.start(2, redis_server)
    alice, bob, carol = (first.make_user() for _ in range(3))
    talk = await make_conversation(first, alice, bob, carol)
    writer, near = await joined(first, alice, talk), await joined(first, carol, talk)
    far = await joined(second, bob, talk)
    stored = await writer.message(talk, "alone")
    assert (await near.expect("message"))["message"] == stored
    redis_server.start()
    await far.expect("resync", timeout=10)
    await writer.expect("resync", timeout=10)
    stored = await writer.message(talk, "together")
    assert (await far.expect("message"))["message"] == stored


async def test_a_redis_that_hangs_holds_up_neither_acks_nor_the_end_of_a_node(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
) -> None:
    (node,) = cluster.start(1, redis_server)
    alice, bob = node.make_user(), node.make_user()
    talk = await make_conversation(node, alice, bob)
    writer, reader = await joined(node, alice, talk), await joined(node, bob, talk)
    redis_server.signal(signal.SIGSTOP)
    try:
        for number in range(3):
            began_at = time.monotonic()
            await writer.message(talk, f"number {number}")
            await reader.expect("message")
            assert time.monotonic() - began_at < 1
        began_at = time.monotonic()
        node.signal(signal.SIGTERM)
        assert (await writer.closed()).code == 4412
        assert await asyncio.to_thread(node.wait) == 0
        assert time.monotonic() - began_at < 8
    finally:
        redis_server.signal(signal.SIGCONT)

"""A node dies, or seems to: its connections are closed once, and its clients go on elsewhere."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from connections.models import Connection, Subscription
from tests.cluster.conftest import Cluster, MakeConversation, soon
from tests.conftest import Connect
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer
from tests.support.server import KINDS, ServerProcess

Joined = Callable[..., Awaitable[WireClient]]
LAPSE_SECONDS = 2.0
HEARTBEAT_SECONDS = 0.3
# The machine that the tests run on may be slow.
SLACK_SECONDS = 5.0


def row(node: ServerProcess, connection_id: str) -> Connection:
    return node.database.run(lambda alias: Connection.objects.using(alias).get(pk=connection_id))


def open_subscriptions(node: ServerProcess) -> int:
    rows = Subscription.objects.filter(left_at__isnull=True)
    return node.database.run(lambda alias: rows.using(alias).count())


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_killed_node_held_is_closed_once_and_its_clients_recover_elsewhere(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
    connect: Connect,
    rest: Callable[..., httpx.AsyncClient],
    kind: Any,
) -> None:
    # Nobody's cleanup comes by: the heartbeat alone has to see to it.
    doomed, *others = cluster.start(
        3, redis_server, kind=kind, OVARA_CLEANUP_INTERVAL_SECONDS="3600"
    )
    alice, bob, carol = (doomed.make_user() for _ in range(3))
    staff = doomed.make_user(is_staff=True)
    talk = await make_conversation(doomed, alice, bob, carol)
    watcher = await joined(others[0], carol, talk)
    gone, comes_back = await joined(doomed, alice, talk), await joined(doomed, bob, talk)
    await watcher.expect("user_joined", user=alice.as_json)
    await watcher.expect("user_joined", user=bob.as_json)
    seen = await gone.message(talk, "seen by all")
    await comes_back.expect("message", message=seen)

    doomed.kill()
    killed_at = time.monotonic()
    missed = [await watcher.message(talk, f"missed {number}") for number in range(3)]
    again = await connect(others[1], bob, client_id=comes_back.client_id)
    ack = await again.join(talk, since=seen["sequence"])
    assert (ack["recovered"], ack["messages"]) == (True, missed)

    left = await watcher.expect("user_left", timeout=10)
    assert left["user"] == alice.as_json
    assert time.monotonic() - killed_at < LAPSE_SECONDS + 2 * HEARTBEAT_SECONDS + SLACK_SECONDS
    lost = row(doomed, gone.connection_id)
    assert (lost.close_code, lost.close_reason) == (1006, "its node died")
    # The other survivor looked as well: nothing is closed, or said, twice.
    await asyncio.sleep(LAPSE_SECONDS)
    assert row(doomed, gone.connection_id).disconnected_at == lost.disconnected_at
    assert await watcher.pending("user_left", "user_joined") == []
    assert open_subscriptions(doomed) == 2
    for node in others:
        stats = (await rest(node, staff).get("/api/connections/stats")).json()
        assert stats["total_connections"] == 2
        assert {one["id"] for one in stats["nodes"]} == {
            watcher.welcome["node"],
            again.welcome["node"],
        }


async def test_a_node_that_was_only_paused_sends_its_clients_to_be_registered_anew(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
    connect: Connect,
) -> None:
    paused, other = cluster.start(2, redis_server)
    alice, bob = paused.make_user(), paused.make_user()
    talk = await make_conversation(paused, alice, bob)
    watcher, client = await joined(other, bob, talk), await joined(paused, alice, talk)
    await watcher.expect("user_joined")
    paused.pause()
    try:
        left = await watcher.expect("user_left", timeout=10)
        assert left["user"] == alice.as_json
        missed = await watcher.message(talk, "while it was paused")
    finally:
        paused.signal(signal.SIGCONT)
    end = await client.closed(timeout=10)
    assert end.code == 4412
    assert end.disconnect is not None
    assert end.disconnect["reconnect"] is True
    closed = row(paused, client.connection_id)
    assert (closed.close_code, closed.close_reason) == (1006, "its node died")

    again = await connect(paused, alice, client_id=client.client_id)
    assert again.welcome["node"] == client.welcome["node"]
    assert (await again.join(talk, since=0))["messages"] == [missed]
    await watcher.expect("user_joined", user=alice.as_json)
    stored = await watcher.message(talk, "both live again")
    await again.expect("message", message=stored)

    async def counts_both() -> bool:
        ack = await watcher.request({"type": "presence", "conversation_id": talk})
        return [user["connections"] for user in ack["users"]] == [1, 1]

    await soon(counts_both, "both are present")


# MongoDB has no lock that holds up those who write, and nobody who reads.
async def test_a_node_that_was_taken_for_dead_never_says_of_its_own_people_that_they_are_not_here(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
    connect: Connect,
) -> None:
    paused, other = cluster.start(2, redis_server)
    alice, bob = paused.make_user(), paused.make_user()
    talk = await make_conversation(paused, alice, bob)
    watcher, client = await joined(other, bob, talk), await joined(paused, alice, talk)
    idle = await connect(paused, alice)
    await watcher.expect("user_joined")
    paused.pause()
    try:
        await watcher.expect("user_left", timeout=10)
        # The heartbeat that would tell the node of it has to wait; questions are answered.
        with paused.database.write_lock():
            await client.send({"type": "presence", "id": "here?", "conversation_id": talk})
            paused.signal(signal.SIGCONT)
            history = {"type": "history", "conversation_id": talk}
            assert (await idle.request(history))["type"] == "ack"
            assert [frame["type"] for frame in client.frames if "id" in frame] == []
    finally:
        paused.signal(signal.SIGCONT)
    assert (await client.closed(timeout=10)).code == 4412
    answers = [frame for frame in client.received if frame.get("id") == "here?"]
    assert {answer["type"] for answer in answers} <= {"error"}, answers
    again = await connect(paused, alice, client_id=client.client_id)
    ack = await again.join(talk)
    assert [user["connections"] for user in ack["presence"]] == [1, 1]

"""What holds on one node holds on three, with two Redis servers that share the groups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import redis as redis_client

from tests.cluster.conftest import Cluster, MakeConversation, soon
from tests.conftest import Connect
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess

Joined = Callable[..., Awaitable[WireClient]]


@pytest.fixture(scope="module")
def nodes(module_cluster: Cluster, redis_servers: list[RedisServer]) -> list[ServerProcess]:
    return module_cluster.start(
        3,
        redis_servers,
        DJANGO_SETTINGS_MODULE="tests.manager.probe.settings",
        OVARA_NODE_LAPSE_SECONDS="20",
    )


async def call(node: ServerProcess, method: str, **arguments: Any) -> Any:
    """Call the manager inside `node`."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(f"{node.url}/async/{method}", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_messages_of_many_conversations_cross_both_redis_servers(
    nodes: list[ServerProcess],
    redis_servers: list[RedisServer],
    make_conversation: MakeConversation,
    joined: Joined,
) -> None:
    alice, bob, carol = (nodes[0].make_user() for _ in range(3))
    talks = [await make_conversation(nodes[0], alice, bob, carol) for _ in range(12)]
    clients = [
        await joined(node, account, *talks)
        for node, account in zip(nodes, (alice, bob, carol), strict=True)
    ]
    used = []
    for server in redis_servers:
        with redis_client.Redis.from_url(server.url) as redis:
            groups = redis.pubsub_channels("ovara__group__conversation.*")
        used.append({group.decode().rpartition(".")[2] for group in groups}.intersection(talks))
    assert all(used)
    assert used[0] | used[1] == set(talks)
    assert not used[0] & used[1]
    for number, talk in enumerate(talks):
        sender = clients[number % 3]
        stored = await sender.message(talk, f"message {number}")
        for other in clients:
            if other is not sender:
                await other.expect("message", message=stored)


async def test_server_code_reaches_connections_clients_users_and_conversations_of_other_nodes(
    nodes: list[ServerProcess],
    make_conversation: MakeConversation,
    connect: Connect,
    joined: Joined,
) -> None:
    alice = nodes[0].make_user()
    talk = await make_conversation(nodes[0], alice)
    first = await joined(nodes[0], alice, talk)
    same_client = await connect(nodes[1], alice, client_id=first.client_id)
    other_client = await joined(nodes[2], alice, talk)
    # Who shall hear it, for each way to say it.
    plan: list[tuple[str, dict[str, str], list[WireClient]]] = [
        ("send_to_connection", {"connection_id": first.connection_id}, [first]),
        ("send_to_client", {"client_id": first.client_id}, [first, same_client]),
        ("send_to_user", {"user_id": alice.id}, [first, same_client, other_client]),
        ("send_to_conversation", {"conversation_id": talk}, [first, other_client]),
    ]
    for origin, node in enumerate(nodes):
        for method, target, hearers in plan:
            name = f"{method}-{origin}"
            await call(node, method, **target, frame={"type": name})
            for client in hearers:
                assert await client.expect(name) == {"type": name}
    for client, count in ((first, 12), (same_client, 6), (other_client, 6)):
        got = [one["type"] for one in client.received if one["type"].startswith("send_to_")]
        assert len(got) == len(set(got)) == count
    # Whoever asks, the right node closes.
    await call(nodes[2], "disconnect", connection_id=same_client.connection_id)
    assert (await same_client.closed()).code == 4510


async def test_statistics_presence_and_cleanup_are_the_clusters(
    nodes: list[ServerProcess],
    make_conversation: MakeConversation,
    joined: Joined,
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    alice, bob = nodes[0].make_user(), nodes[0].make_user()
    staff = nodes[0].make_user(is_staff=True)
    talk = await make_conversation(nodes[0], alice, bob)
    clients = [await joined(node, alice, talk) for node in nodes]
    watcher = await joined(nodes[0], bob, talk)
    ack = await watcher.request({"type": "presence", "conversation_id": talk})
    counts = {user["user"]["username"]: user["connections"] for user in ack["users"]}
    assert counts == {alice.username: 3, bob.username: 1}
    # Away only when every tab is, on whatever node.
    for client in clients:
        await client.send({"type": "away", "is_away": True})
    frame = await watcher.expect("presence")
    assert [one["state"] for one in frame["changes"]] == ["away"]
    assert await watcher.pending("presence") == []
    for node in nodes:

        async def counts_all(node: ServerProcess = node) -> bool:
            stats = (await rest(node, staff).get("/api/connections/stats")).json()
            return len(stats["nodes"]) == 3 and stats["unique_users"] == 2

        await soon(counts_all, "each node knows of all")
    # Whoever is silent for 0.02 minutes is closed, on every node.
    await asyncio.sleep(1.5)
    answer = await rest(nodes[2], staff).post("/api/connections/cleanup?max_inactive_minutes=0.02")
    assert answer.json()["closed"] >= 3
    for client in clients:
        assert (await client.closed()).code == 4408


async def test_the_read_position_and_the_lists_unread_cross_the_nodes(
    nodes: list[ServerProcess],
    make_conversation: MakeConversation,
    joined: Joined,
    connect: Connect,
) -> None:
    alice, bob = nodes[0].make_user(), nodes[0].make_user()
    talk = await make_conversation(nodes[0], alice, bob)
    writer = await joined(nodes[0], alice, talk)
    # Not joined: hears of it in the list alone.
    lister, reader = await connect(nodes[1], bob), await joined(nodes[2], bob, talk)
    await writer.message(talk, "one")
    await lister.expect("conversation_updated", conversation_id=talk, unread=1, last_sequence=1)
    await reader.request({"type": "read", "conversation_id": talk, "sequence": 1})
    frame = await writer.expect("read", conversation_id=talk)
    assert (frame["user"], frame["sequence"]) == (bob.as_json, 1)
    await lister.expect("conversation_updated", conversation_id=talk, unread=0)


async def test_what_tabs_and_participants_are_told_crosses_the_nodes(
    nodes: list[ServerProcess],
    make_conversation: MakeConversation,
    joined: Joined,
    connect: Connect,
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    alice, bob = nodes[0].make_user(), nodes[0].make_user()
    talk = await make_conversation(nodes[0], alice)
    first = await joined(nodes[0], alice, talk)
    tab = await connect(nodes[1], alice, client_id=first.client_id)
    await first.expect("client_connections", count=2)
    await tab.request({"type": "state", "state": {"draft": "hello"}})
    await first.expect("state", state={"draft": "hello"})
    await tab.close()
    await first.expect("client_connections", count=1)

    guest, beside = await connect(nodes[2], bob), await joined(nodes[2], alice, talk)
    people = f"/api/conversations/{talk}/participants"
    owner = rest(nodes[0], alice)
    answer = await owner.post(people, json={"username": bob.username})
    assert answer.status_code == 201, answer.text
    await guest.expect("conversation_added", conversation_id=talk)
    await guest.join(talk)
    await first.expect("user_joined", user=bob.as_json)
    await guest.send({"type": "typing", "conversation_id": talk, "is_typing": True})
    await first.expect("typing", user=bob.as_json, is_typing=True)
    answer = await owner.delete(f"{people}/{bob.username}")
    assert answer.status_code == 204, answer.text
    await guest.expect("conversation_removed", conversation_id=talk)
    await beside.expect("user_left", user=bob.as_json)
    stored = await first.message(talk, "in private")
    await beside.expect("message", message=stored)
    assert await guest.pending("message") == []

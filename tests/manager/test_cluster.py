"""Two nodes with one database and one Redis: a first proof that they are one cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest

from tests.conftest import SHARED_SERVER_SETTINGS, Connect, ServerWith
from tests.support.client import WireClient
from tests.support.database import Account
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess


class Pair(NamedTuple):
    """Alice is on the first node, bob on the second; both have joined."""

    first: ServerProcess
    second: ServerProcess
    alice: WireClient
    bob: WireClient
    accounts: tuple[Account, Account]
    conversation_id: str


@pytest.fixture(scope="module")
def second_node(
    redis_node: ServerProcess, redis_of_the_run: RedisServer, start_server: ServerWith
) -> ServerProcess:
    return start_server(
        database=redis_node.database,
        REDIS_URL=redis_of_the_run.url,
        DJANGO_SETTINGS_MODULE="tests.manager.probe.settings",
        **SHARED_SERVER_SETTINGS,
    )


@pytest.fixture
async def pair(
    redis_node: ServerProcess,
    second_node: ServerProcess,
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Awaitable[str]],
    connect: Connect,
) -> Pair:
    alice, bob = make_user(redis_node), make_user(redis_node)
    conversation_id = await make_conversation(redis_node, alice, bob)
    first, second = await connect(redis_node, alice), await connect(second_node, bob)
    assert first.welcome["node"] != second.welcome["node"]
    await first.join(conversation_id)
    await second.join(conversation_id)
    await first.expect("user_joined")
    return Pair(redis_node, second_node, first, second, (alice, bob), conversation_id)


async def test_messages_cross_the_nodes_both_ways(pair: Pair) -> None:
    stored = await pair.alice.message(pair.conversation_id, "from the first")
    frame = await pair.bob.expect("message")
    assert frame["message"] == stored
    stored = await pair.bob.message(pair.conversation_id, "from the second")
    frame = await pair.alice.expect("message")
    assert frame["message"] == stored
    assert stored["sequence"] == 2
    assert await pair.alice.pending("message") == await pair.bob.pending("message") == []


async def test_server_code_of_one_node_reaches_the_other(pair: Pair) -> None:
    targets: dict[str, str] = {
        "connection": pair.alice.connection_id,
        "client": pair.alice.client_id,
        "user": pair.accounts[0].id,
        "conversation": pair.conversation_id,
    }
    async with httpx.AsyncClient(base_url=pair.second.url, trust_env=False, timeout=30) as http:
        for kind, target in targets.items():
            arguments: dict[str, Any] = {f"{kind}_id": target, "frame": {"type": f"for-{kind}"}}
            answer = await http.post(f"/async/send_to_{kind}", json=arguments)
            assert answer.status_code == 200, answer.text
            assert await pair.alice.expect(f"for-{kind}") == {"type": f"for-{kind}"}
        answer = await http.post(
            "/async/send_to_conversation",
            json={
                "conversation_id": pair.conversation_id,
                "frame": {"type": "not-for-alice"},
                "exclude": pair.alice.connection_id,
            },
        )
        assert answer.status_code == 200, answer.text
    await pair.bob.expect("not-for-alice")
    await pair.bob.message(pair.conversation_id, "behind it")
    await pair.alice.expect("message")
    assert await pair.alice.pending("not-for-alice") == []


async def test_presence_is_the_clusters(pair: Pair, connect: Connect) -> None:
    ack = await pair.alice.request({"type": "presence", "conversation_id": pair.conversation_id})
    assert {user["user"]["username"] for user in ack["users"]} == {
        account.username for account in pair.accounts
    }
    # A second connection of bob's, on the other node: he does not come again, nor leave with it.
    second_tab = await connect(pair.first, pair.accounts[1])
    await second_tab.join(pair.conversation_id)
    await second_tab.close()
    await pair.bob.send({"type": "away", "is_away": True})
    frame = await pair.alice.expect("presence", timeout=10)
    assert [(change["event"], change["state"]) for change in frame["changes"]] == [
        ("state", "away")
    ]
    await pair.bob.close()
    left = await pair.alice.expect("user_left", timeout=10)
    assert left["user"] == pair.accounts[1].as_json
    assert await pair.alice.pending("user_joined", "user_left") == []


async def test_typing_and_read_positions_cross_the_nodes(pair: Pair) -> None:
    await pair.bob.send(
        {"type": "typing", "conversation_id": pair.conversation_id, "is_typing": True}
    )
    frame = await pair.alice.expect("typing")
    assert (frame["user"], frame["is_typing"]) == (pair.accounts[1].as_json, True)
    await pair.alice.message(pair.conversation_id, "hello")
    await pair.bob.request({"type": "read", "conversation_id": pair.conversation_id, "sequence": 1})
    frame = await pair.alice.expect("read")
    assert (frame["user"], frame["sequence"]) == (pair.accounts[1].as_json, 1)


async def test_the_statistics_are_the_clusters_on_either_node(
    pair: Pair,
    make_user: Callable[..., Account],
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    staff = make_user(pair.first, is_staff=True)
    for server in (pair.first, pair.second):
        stats = (await rest(server, staff).get("/api/connections/stats")).json()
        assert {node["id"] for node in stats["nodes"]} == {
            pair.alice.welcome["node"],
            pair.bob.welcome["node"],
        }


async def test_a_node_ends_a_connection_of_the_other(
    pair: Pair,
    make_user: Callable[..., Account],
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    staff = make_user(pair.first, is_staff=True)
    answer = await rest(pair.second, staff).delete(f"/api/connections/{pair.alice.connection_id}")
    assert answer.status_code == 202
    assert (await pair.alice.closed()).code == 4510

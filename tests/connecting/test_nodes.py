"""Nodes that die without a word: what they left is closed, and nobody waits for them."""

from __future__ import annotations

import asyncio
import functools
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from socket import gethostname
from typing import Any

import httpx
import pytest

from connections.models import Client, Connection, Node, Subscription
from connections.registry.nodes import Reaped, nodes_reap_own_host
from ovara.accounts.models import User
from ovara.times import now
from sessions_app.models import Conversation
from sessions_app.services import conversation_create
from tests.connecting.conftest import (
    Connect,
    MakeConversation,
    ServerWith,
    closed_row,
    refused,
    row_of,
    until,
)
from tests.support.client import WireClient
from tests.support.server import ServerProcess
from tests.support.statements import calling, once

LAPSE_SECONDS = 1.2
RESTLESS = {
    "OVARA_NODE_HEARTBEAT_SECONDS": "0.2",
    "OVARA_NODE_LAPSE_SECONDS": str(LAPSE_SECONDS),
    "OVARA_CLEANUP_INTERVAL_SECONDS": "0.2",
    "OVARA_PRESENCE_GRACE_SECONDS": "0.2",
    "OVARA_MAX_CONNECTIONS_PER_CLIENT": "1",
}


@pytest.fixture
def two_nodes(server_with: ServerWith) -> tuple[ServerProcess, ServerProcess]:
    """Two servers on one database, with no layer between them."""
    first = server_with(**RESTLESS)
    return first, server_with(database=first.database, **RESTLESS)


def rows(server: ServerProcess, model: Any, **conditions: Any) -> int:
    def count(alias: str) -> int:
        found: int = model.objects.using(alias).filter(**conditions).count()
        return found

    return server.database.run(count)


def rows_of(server: ServerProcess, model: Any, column: str) -> set[Any]:
    """What all rows have in that column."""
    return server.database.run(
        lambda alias: set(model.objects.using(alias).values_list(column, flat=True))
    )


def have_changed(server: ServerProcess, heartbeats: set[Any]) -> bool:
    """Whether every node has beaten since."""
    return heartbeats.isdisjoint(rows_of(server, Node, "last_heartbeat"))


async def test_a_start_closes_what_a_killed_process_of_this_host_left(
    server_with: ServerWith, connect: Connect, make_conversation: MakeConversation
) -> None:
    server = server_with(OVARA_MAX_CONNECTIONS_PER_CLIENT="1")
    alice = server.make_user()
    conversation_id = await make_conversation(server, alice)
    client = await connect(server, alice)
    await client.join(conversation_id)
    anonymous = await connect(server)
    server.kill()
    assert row_of(server, client.connection_id).disconnected_at is None

    mark = server.log_mark()
    server.restart()
    # Nobody has to wait for the lapse, which is ten seconds: the only place is free again.
    again = await connect(server, alice, client_id=client.client_id)
    assert again.welcome["client_connections"] == 1
    assert again.welcome["session"]["resumed"] is True
    assert again.welcome["node"] != client.welcome["node"]
    await server.wait_for_log("node_started .*reaped=2", since=mark)
    for one in (client, anonymous):
        row = row_of(server, one.connection_id)
        assert (row.close_code, row.close_reason) == (1006, "its node died")
    assert rows(server, Subscription, connection_id=client.connection_id, left_at=None) == 0
    assert rows(server, Node, stopped_at=None) == 1


async def test_a_node_whose_heartbeat_ends_is_reaped_by_another(
    two_nodes: tuple[ServerProcess, ServerProcess],
    connect: Connect,
    make_conversation: MakeConversation,
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    dying, living = two_nodes
    alice, bob = living.make_user(), living.make_user()
    staff = living.make_user(is_staff=True)
    conversation_id = await make_conversation(living, alice, bob)
    lost, witness = await connect(dying, alice), await connect(living, bob)
    await lost.join(conversation_id)
    present = (await witness.join(conversation_id))["presence"]
    assert {one["user"]["username"] for one in present} == {alice.username, bob.username}

    dying.kill()
    # Until the lapse it counts as alive: its connection takes the only place.
    end = await refused(connect, living, alice, client_id=lost.client_id)
    assert end.code == 4509
    row = await closed_row(living, lost.connection_id)
    assert (row.close_code, row.close_reason) == (1006, "its node died")
    await witness.expect("user_left", user=alice.as_json)
    again = await connect(living, alice, client_id=lost.client_id)
    assert again.welcome["session"]["id"] == lost.session_id

    stats = (await rest(living, staff).get("/api/connections/stats")).json()
    assert [node["id"] for node in stats["nodes"]] == [witness.welcome["node"]]
    assert stats["total_connections"] == 2
    assert (await witness.request({"type": "ping"}))["type"] == "pong"


async def test_a_node_that_was_only_asleep_sends_its_clients_back_and_lives_on(
    two_nodes: tuple[ServerProcess, ServerProcess], connect: Connect
) -> None:
    sleeper, other = two_nodes
    alice = other.make_user()
    client, witness = await connect(sleeper, alice), await connect(other, other.make_user())
    sleeper.pause()
    try:
        await closed_row(other, client.connection_id)
    finally:
        sleeper.signal(signal.SIGCONT)
    end = await client.closed()
    assert end.code == 4412
    assert end.disconnect is not None
    assert end.disconnect["retry_after"] > 0
    await sleeper.wait_for_log("node_taken_for_dead")
    # Its row lives again, and so it takes people in.
    node_id = client.welcome["node"]
    await until(lambda: rows(other, Node, pk=node_id, stopped_at=None) == 1)
    again = await connect(sleeper, alice, client_id=client.client_id)
    assert again.welcome["node"] == node_id
    assert (await witness.request({"type": "ping"}))["type"] == "pong"


async def test_a_node_alone_that_was_asleep_does_not_take_itself_for_dead(
    server_with: ServerWith, connect: Connect
) -> None:
    server = server_with(**RESTLESS)
    client: WireClient = await connect(server, server.make_user())
    server.pause()
    await asyncio.sleep(LAPSE_SECONDS + 0.3)
    mark = server.log_mark()
    server.signal(signal.SIGCONT)
    for _ in range(5):
        # Through several heartbeats and cleanups.
        assert (await client.request({"type": "ping"}))["type"] == "pong"
        await asyncio.sleep(0.1)
    assert row_of(server, client.connection_id).disconnected_at is None
    assert "node_taken_for_dead" not in "\n".join(server.logs().splitlines()[mark:])
    assert rows(server, Connection, disconnected_at=None) == 1


# MongoDB has no lock that leaves readers alone.
async def test_nodes_that_could_not_write_their_heartbeats_do_not_take_each_other_for_dead(
    two_nodes: tuple[ServerProcess, ServerProcess],
    connect: Connect,
    make_conversation: MakeConversation,
) -> None:
    """Whoever comes first when the database takes writes again might reap all others."""
    first, second = two_nodes
    alice, bob = first.make_user(), first.make_user()
    talk = await make_conversation(first, alice, bob)
    clients = [await connect(first, alice), await connect(second, bob)]
    for client in clients:
        await client.join(talk)
    for _ in range(3):
        with first.database.write_lock():
            await asyncio.sleep(2 * LAPSE_SECONDS)
        # Two heartbeats are written again, in whatever order.
        before = rows_of(first, Node, "last_heartbeat")
        await until(functools.partial(have_changed, first, before))
        for client in clients:
            ack = await client.request({"type": "presence", "conversation_id": talk})
            assert [user["connections"] for user in ack["users"]] == [1, 1]
    assert rows(first, Node, stopped_at=None) == 2
    assert "node_taken_for_dead" not in first.logs() + second.logs()


def dead_node(last_heartbeat: datetime) -> Node:
    """A node of this host whose process is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return Node.objects.create(hostname=gethostname(), pid=gone.pid, last_heartbeat=last_heartbeat)


@pytest.mark.parametrize("changed", ["last_heartbeat", "stopped_at"])
def test_a_node_that_beats_or_is_claimed_by_another_just_before_is_left_alone(
    db: None, changed: str
) -> None:
    node = dead_node(now() - timedelta(hours=1))
    Connection.objects.create(node=node)
    # Whoever reaps the node has the members of this one compare.
    Conversation.objects.create(last_sequence=1)
    change = once(lambda: Node.objects.update(**{changed: now()}))
    with calling(change, before="UPDATE", table=Node._meta.db_table):
        assert nodes_reap_own_host(uuid.uuid4()) == Reaped(0, set())
    assert Connection.objects.get().disconnected_at is None


@pytest.mark.parametrize("ahead", [timedelta(seconds=-20), timedelta(hours=1)])
def test_the_grace_of_who_was_on_a_dead_node_counts_from_its_last_heartbeat(
    db: None, ahead: timedelta
) -> None:
    """Or from now, where its clock was ahead of ours."""
    node = dead_node(now() + ahead)
    alice = User.objects.create(username="alice")
    client = Client.objects.create(user=alice)
    Subscription.objects.create(
        connection=Connection.objects.create(node=node, client=client, user=alice),
        conversation=conversation_create(owner=alice),
        user=alice,
        client_id=client.pk,
        node=node,
    )
    assert nodes_reap_own_host(uuid.uuid4()).connections == 1
    left_at = Subscription.objects.get().left_at
    assert left_at is not None
    assert left_at <= min(node.last_heartbeat, now())

"""`disconnect`, `cleanup_inactive_connections`, `get_connection_stats`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from connections.close_codes import CLOSE_REASON_MAX_BYTES, CloseCode
from connections.close_requests import request_close
from connections.manager import WebSocketManager
from connections.models import Connection, Node
from connections.registry.nodes import node_register, node_retire
from connections.registry.requests import RequestClose
from connections.selectors import connection_stats
from ovara.database import in_thread
from ovara.times import now
from tests.support.in_process import FakeSocket, add, make_conversation, make_person, until


async def be_silent(manager: WebSocketManager, connection_id: str, minutes: float) -> None:
    """As if the connection had sent nothing but `ping` for so long."""
    manager.active_connections[connection_id].active_at -= minutes * 60
    await in_thread(
        lambda: Connection.objects.filter(pk=connection_id).update(
            last_active=now() - timedelta(minutes=minutes)
        )
    )


async def test_a_disconnected_peer_is_told_why_and_is_out_at_once(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    connection_id, socket = await add(manager, alice, None, await make_conversation(alice))
    assert await manager.disconnect(connection_id)
    assert socket.closed == (4510, "disconnected by an administrator")
    assert socket.frames == [
        {
            "type": "disconnect",
            "code": 4510,
            "reason": "disconnected by an administrator",
            "reconnect": False,
        }
    ]
    assert not manager.active_connections and not manager.conversation_connections


async def test_code_and_reason_are_the_callers(manager: WebSocketManager) -> None:
    alice = await make_person()
    connection_id, socket = await add(manager, alice)
    assert await manager.disconnect(connection_id, code=CloseCode.DRAINING, reason="moving house")
    assert socket.closed == (4412, "moving house")
    assert socket.frames[0]["reconnect"] is True
    await until(lambda: in_thread(Connection.objects.exclude(disconnected_at=None).exists))
    row = await in_thread(Connection.objects.get, pk=connection_id)
    assert (row.close_code, row.close_reason) == (4412, "moving house")


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 2999, 5000, -1])
async def test_a_code_that_no_server_may_send_is_refused(
    manager: WebSocketManager, code: int
) -> None:
    connection_id, socket = await add(manager, await make_person())
    with pytest.raises(ValueError, match="close code"):
        await manager.disconnect(connection_id, code=code)
    assert socket.closed is None


async def test_a_long_reason_is_cut_to_what_a_close_frame_holds(manager: WebSocketManager) -> None:
    connection_id, socket = await add(manager, await make_person())
    reason = "ü" * 100
    assert await manager.disconnect(connection_id, reason=reason)
    assert socket.closed == (4510, "ü" * (CLOSE_REASON_MAX_BYTES // 2))
    assert socket.frames[0]["reason"] == reason


async def test_only_the_inactive_are_cleaned_up_and_may_come_back(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    silent, silent_socket = await add(manager, alice)
    active, active_socket = await add(manager, alice)
    await be_silent(manager, silent, minutes=31)
    await be_silent(manager, active, minutes=29)

    assert await manager.cleanup_inactive_connections(dry_run=True) == 1
    assert silent_socket.closed is None
    assert await manager.cleanup_inactive_connections(max_inactive_minutes=30) == 1
    assert silent_socket.closed == (4408, "inactive for 30 minutes")
    assert silent_socket.frames[-1]["reconnect"] is True
    assert active_socket.closed is None
    assert list(manager.active_connections) == [active]
    assert await manager.cleanup_inactive_connections(max_inactive_minutes=30) == 0


async def test_who_speaks_meanwhile_is_not_cleaned_up(manager: WebSocketManager) -> None:
    connection_id, socket = await add(manager, await make_person())
    await be_silent(manager, connection_id, minutes=31)
    # The row does not know yet.
    manager.touch(connection_id)
    await manager.cleanup_inactive_connections()
    assert socket.closed is None


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), 525_601])
async def test_a_time_that_makes_no_sense_is_refused(
    manager: WebSocketManager, minutes: float
) -> None:
    _, socket = await add(manager, await make_person())
    with pytest.raises(ValueError, match="max_inactive_minutes"):
        await manager.cleanup_inactive_connections(max_inactive_minutes=minutes)
    assert socket.closed is None


async def test_fractions_of_a_minute_count(manager: WebSocketManager) -> None:
    connection_id, socket = await add(manager, await make_person())
    await be_silent(manager, connection_id, minutes=0.6)
    assert await manager.cleanup_inactive_connections(0.5) == 1
    assert socket.closed == (4408, "inactive for 0.5 minutes")


async def test_statistics_count_what_is_there(manager: WebSocketManager) -> None:
    alice, bob = await make_person(), await make_person()
    talk = await make_conversation(alice, bob)
    first, _ = await add(manager, alice, None, talk)
    client_id = manager.active_connections[first].client_id
    await add(manager, alice, None, talk, client_id=client_id)
    await add(manager, bob)
    await manager.add_connection(FakeSocket())

    stats: dict[str, Any] = await manager.get_connection_stats()
    (node,) = stats.pop("nodes")
    assert stats == {
        "total_connections": 4,
        "authenticated_connections": 3,
        "unique_clients": 2,
        "unique_users": 2,
        "active_conversations": 1,
    }
    assert (node["id"], node["alive"], node["connections"]) == (manager.node.id, True, 4)
    # The database says the same, to whom has no connections of its own.
    assert await in_thread(connection_stats) == {**stats, "nodes": [node]}

    await manager.remove_connection(first)
    assert (await manager.get_connection_stats())["authenticated_connections"] == 2


async def test_a_lone_nodes_statistics_cost_the_same_however_many_are_connected(
    manager: WebSocketManager,
) -> None:
    await add(manager, await make_person())

    def tables_read() -> set[str]:
        with CaptureQueriesContext(connection) as queries:
            stats = connection_stats(manager.node.id, manager.node.hub.counts())
        assert stats["total_connections"] == 1
        return {
            model._meta.db_table
            for model in apps.get_models()
            if any(model._meta.db_table in query["sql"] for query in queries)
        }

    assert await in_thread(tables_read) == {Node._meta.db_table}
    # Another node has connections that only the database knows of.
    other = await in_thread(node_register)
    assert Connection._meta.db_table in await in_thread(tables_read)
    await in_thread(node_retire, other.pk)


async def test_a_node_closes_nobody_who_spoke_since_another_process_looked(
    manager: WebSocketManager,
) -> None:
    speaking, speaking_socket = await add(manager, await make_person())
    silent, silent_socket = await add(manager, await make_person())
    await be_silent(manager, silent, minutes=31)
    cutoff = now() - timedelta(minutes=30)
    request = RequestClose((speaking, silent), 4408, "inactive", inactive_before=cutoff)
    await request_close(manager.node, request)
    assert silent_socket.closed == (4408, "inactive")
    assert speaking_socket.closed is None

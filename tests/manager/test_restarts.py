"""The node inside a process whose loops come and go: tests, scripts, notebooks."""

from __future__ import annotations

import asyncio

import pytest

from connections.errors import ChannelLayerNotShared
from connections.manager import WebSocketManager, websocket_manager
from connections.models import Connection, Node
from connections.registry import registry
from ovara.accounts.models import User
from ovara.database import in_thread
from ovara.errors import Overloaded
from sessions_app.journal import journal
from sessions_app.services import conversation_create
from tests.support.in_process import FakeSocket, add, make_person


async def test_a_node_that_was_stopped_starts_again(manager: WebSocketManager) -> None:
    alice = await make_person()
    first, _ = await add(manager, alice)
    first_node = manager.node.id
    await manager.remove_connection(first)
    await manager.node.stop()
    row = await in_thread(Node.objects.get)
    assert row.stopped_at is not None

    _, socket = await add(manager, alice)
    await manager.send_to_user(alice.id, {"type": "notification"})
    assert socket.frames == [{"type": "notification"}]
    assert manager.node.id != first_node


def test_a_loop_that_was_closed_without_a_word_takes_its_connections_along(
    transactional_db: None,
) -> None:
    user = User.objects.create(username="alice")
    sockets = FakeSocket(), FakeSocket()

    async def hold(socket: FakeSocket) -> str:
        connection_id = await websocket_manager.add_connection(socket, user_id=user.pk)
        assert await websocket_manager.authenticate_connection(connection_id)
        await websocket_manager.send_to_user(user.pk, {"type": "notification"})
        return connection_id

    first, second = asyncio.run(hold(sockets[0])), asyncio.run(hold(sockets[1]))
    registry.close()
    assert list(websocket_manager.active_connections) == [second]
    assert [len(socket.of_type("notification")) for socket in sockets] == [1, 1]
    assert Connection.objects.get(pk=first).close_reason == "its node died"


def test_a_process_whose_loop_was_closed_is_no_server_any_more(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    owner = User.objects.create(username="alice")
    conversation = conversation_create(owner=owner)
    asyncio.run(websocket_manager.node.ensure_started())

    assert not websocket_manager.node.running
    assert websocket_manager.sync.post_message(str(conversation.pk), "hello").sequence == 1
    journal.close()
    assert "Stored, but not delivered" in caplog.text
    with pytest.raises(ChannelLayerNotShared, match="REDIS_URL"):
        websocket_manager.sync.send_to_user(owner.pk, {"type": "notification"})


async def test_a_start_that_failed_takes_nothing_from_the_next(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = iter(["the database is not there yet"])
    monkeypatch.setattr("connections.node.start_problem", lambda: next(problems, None))
    node = websocket_manager.node

    async def comes_and_insists() -> None:
        with pytest.raises(Overloaded):
            await node.ensure_started()
        await node.ensure_started()

    async def comes() -> None:
        with pytest.raises(Overloaded):
            await node.ensure_started()

    await asyncio.gather(comes_and_insists(), comes())
    try:
        assert node.running
        assert await in_thread(Node.objects.count) == 1
    finally:
        await node.stop()

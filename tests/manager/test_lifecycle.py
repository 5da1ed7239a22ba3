"""A connection's life by the manager's own methods: add, authenticate, join, leave, remove."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.test import override_settings

from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.manager import WebSocketManager
from connections.models import Connection
from ovara.accounts.models import User
from ovara.database import in_thread
from ovara.errors import Forbidden
from ovara.ids import new_id
from ovara.times import now
from sessions_app.models import Session
from tests.support.in_process import FakeSocket, add, make_conversation, make_person, until


@pytest.fixture
def strict() -> Iterator[None]:
    """Two connections a client, one conversation a connection."""
    small = dataclasses.replace(
        settings.OVARA, max_connections_per_client=2, max_conversations_per_connection=1
    )
    with override_settings(OVARA=small):
        yield


async def row_of(connection_id: str) -> Connection:
    return await in_thread(Connection.objects.get, pk=connection_id)


async def test_a_connection_is_registered_and_not_yet_authenticated(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    client_id = str(new_id())
    connection_id = await manager.add_connection(FakeSocket(), client_id, alice.id)

    row = await row_of(connection_id)
    assert (str(row.client_id), str(row.user_id), row.authenticated) == (client_id, alice.id, False)
    assert not manager.active_connections[connection_id].authenticated


async def test_ids_may_be_uuid_objects(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = UUID(await make_conversation(alice))
    socket = FakeSocket()
    connection_id = UUID(await manager.add_connection(socket, new_id(), UUID(alice.id)))
    assert await manager.authenticate_connection(connection_id, UUID(alice.id))
    assert await manager.join_conversation(connection_id, talk)
    await manager.send_to_connection(connection_id, {"type": "one"})
    await manager.send_to_user(UUID(alice.id), {"type": "two"})
    await manager.send_to_conversation(talk, {"type": "three"})
    await manager.post_message(talk, "four")
    assert [frame["type"] for frame in socket.frames] == ["one", "two", "three", "message"]
    assert await manager.leave_conversation(connection_id, talk)
    assert await manager.remove_connection(connection_id)


async def test_authenticating_brings_what_is_sent_to_the_user(manager: WebSocketManager) -> None:
    alice = await make_person()
    socket = FakeSocket()
    connection_id = await manager.add_connection(socket, user_id=alice.id)
    await manager.send_to_user(alice.id, {"type": "before"})
    assert await manager.authenticate_connection(connection_id)
    await manager.send_to_user(alice.id, {"type": "after"})

    assert socket.of_type("before", "after") == [{"type": "after"}]
    assert (await row_of(connection_id)).authenticated


async def test_a_connection_without_a_user_gets_one_when_it_is_authenticated(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    client_id = str(new_id())
    connection_id = await manager.add_connection(FakeSocket(), client_id)
    assert not await manager.authenticate_connection(connection_id)
    assert await manager.authenticate_connection(connection_id, alice.id)

    connection = manager.active_connections[connection_id]
    assert connection.user is not None and connection.user.id == alice.id
    assert connection.client_id == client_id
    assert str((await row_of(connection_id)).user_id) == alice.id


async def test_nobody_can_vouch_for_a_connection_in_another_users_name(
    manager: WebSocketManager,
) -> None:
    alice, mallory = await make_person(), await make_person()
    connection_id = await manager.add_connection(FakeSocket(), user_id=alice.id)
    with pytest.raises(Forbidden):
        await manager.authenticate_connection(connection_id, mallory.id)
    assert not manager.active_connections[connection_id].authenticated


async def test_the_session_is_resumed_by_the_next_connection_of_a_client(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    first, _ = await add(manager, alice)
    connection = manager.active_connections[first]
    client_id, session_id = connection.client_id, connection.session_id
    await manager.remove_connection(first)
    assert session_id is not None
    again = await manager.add_connection(FakeSocket(), None, alice.id, session_id)

    assert manager.active_connections[again].session_id == session_id
    assert manager.active_connections[again].client_id == client_id
    assert await in_thread(Session.objects.count) == 1


async def test_a_client_of_another_user_is_refused(manager: WebSocketManager) -> None:
    alice, mallory = await make_person(), await make_person()
    client_id = str(new_id())
    await add(manager, alice, client_id=client_id)
    with pytest.raises(Disconnect) as refusal:
        await manager.add_connection(FakeSocket(), client_id, mallory.id)
    assert refusal.value.code is CloseCode.FORBIDDEN
    assert len(manager.active_connections) == 1


async def test_an_unknown_user_is_refused(manager: WebSocketManager) -> None:
    with pytest.raises(Disconnect) as refusal:
        await manager.add_connection(FakeSocket(), user_id=new_id())
    assert refusal.value.code is CloseCode.UNAUTHENTICATED
    assert not manager.active_connections


async def test_one_connection_too_many_is_refused_and_counts_for_nothing(
    manager: WebSocketManager, strict: None
) -> None:
    alice = await make_person()
    client_id = str(new_id())
    for _ in range(2):
        last, _ = await add(manager, alice, client_id=client_id)
    with pytest.raises(Disconnect) as refusal:
        await manager.add_connection(FakeSocket(), client_id, alice.id)
    assert refusal.value.code is CloseCode.TOO_MANY
    await manager.remove_connection(last)
    await until(lambda: in_thread(Connection.objects.exclude(disconnected_at=None).exists))
    assert await manager.add_connection(FakeSocket(), client_id, alice.id)


@pytest.mark.parametrize("name", ["client_id", "user_id", "session_id"])
async def test_an_id_that_is_no_uuid_is_said_to_be_none(
    manager: WebSocketManager, name: str
) -> None:
    arguments: dict[str, Any] = {name: "alice"}
    with pytest.raises(ValueError, match=f"{name} must be a UUID"):
        await manager.add_connection(FakeSocket(), **arguments)
    assert not manager.active_connections


async def test_only_participants_can_be_joined(manager: WebSocketManager) -> None:
    alice, mallory = await make_person(), await make_person()
    talk = await make_conversation(alice)
    connection_id, socket = await add(manager, mallory)
    assert not await manager.join_conversation(connection_id, talk)
    assert not await manager.join_conversation(connection_id, new_id())
    assert not await manager.join_conversation(connection_id, "not an id")
    await manager.send_to_conversation(talk, {"type": "secret"})
    assert socket.texts == []
    assert not manager.conversation_connections


async def test_only_authenticated_connections_can_be_joined(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    connection_id = await manager.add_connection(FakeSocket(), user_id=alice.id)
    assert not await manager.join_conversation(connection_id, talk)
    assert not manager.conversation_connections


async def test_a_connection_joins_only_as_many_conversations_as_it_may(
    manager: WebSocketManager, strict: None
) -> None:
    alice = await make_person()
    first, second = await make_conversation(alice), await make_conversation(alice)
    connection_id, _ = await add(manager, alice, None, first)
    assert await manager.join_conversation(connection_id, first)
    with pytest.raises(Forbidden):
        await manager.join_conversation(connection_id, second)
    assert list(manager.conversation_connections) == [first]


async def test_removing_closes_the_row_and_leaves_the_socket_alone(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    connection_id, socket = await add(manager, alice)
    assert await manager.remove_connection(connection_id, 1001, "going away")
    assert not await manager.remove_connection(connection_id)
    await until(lambda: in_thread(Connection.objects.exclude(disconnected_at=None).exists))
    row = await row_of(connection_id)
    assert (row.close_code, row.close_reason) == (1001, "going away")
    assert socket.closed is None


async def test_nothing_happens_to_connections_that_nobody_knows(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    for unknown in (str(new_id()), new_id(), "not an id", ""):
        assert not await manager.authenticate_connection(unknown, alice.id)
        assert not await manager.join_conversation(unknown, talk)
        assert not await manager.leave_conversation(unknown, talk)
        assert not await manager.remove_connection(unknown)
        assert not await manager.disconnect(unknown)
        manager.touch(unknown)


async def test_a_touched_connection_is_heard_and_active(manager: WebSocketManager) -> None:
    alice = await make_person()
    connection_id, _ = await add(manager, alice)
    connection = manager.active_connections[connection_id]
    connection.heard_at = connection.active_at = 0.0
    before = time.monotonic()
    manager.touch(connection_id)
    assert connection.heard_at == connection.active_at >= before


async def test_a_socket_of_ones_own_that_is_never_touched_is_closed_as_idle(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    connection_id, socket = await add(manager, alice)
    manager.active_connections[connection_id].heard_at -= settings.OVARA.idle_timeout_seconds
    manager.active_connections[connection_id].next_deadline_at = 0.0
    await until(lambda: socket.closed)
    assert socket.closed is not None and socket.closed[0] == CloseCode.IDLE


async def test_a_deactivated_account_is_out_at_once(manager: WebSocketManager) -> None:
    alice = await make_person()
    _, socket = await add(manager, alice)

    def deactivate() -> None:
        user = User.objects.get(pk=alice.id)
        user.is_active = False
        user.save()

    started = now()
    await in_thread(deactivate)
    await until(lambda: socket.closed)
    assert socket.closed is not None and socket.closed[0] == CloseCode.UNAUTHENTICATED
    assert (now() - started).total_seconds() < 1

"""What a developer sees of the manager when debugging."""

from __future__ import annotations

import dataclasses

import pytest

from connections.hub import ConnectionInfo
from connections.manager import WebSocketManager
from tests.support.in_process import FakeSocket, add, make_conversation, make_person


def test_connection_info_is_a_slotted_dataclass() -> None:
    assert dataclasses.is_dataclass(ConnectionInfo)
    assert "connection_id" in ConnectionInfo.__slots__
    assert ConnectionInfo.__dictoffset__ == 0, "an instance has a __dict__ all the same"


async def test_the_three_mappings_show_who_is_here(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk, other_talk = await make_conversation(alice), await make_conversation(alice)
    first, _ = await add(manager, alice, None, talk, other_talk)
    connection = manager.active_connections[first]
    client_id = connection.client_id
    assert client_id is not None
    second, _ = await add(manager, alice, None, talk, client_id=client_id)

    assert set(manager.active_connections) == {first, second}
    assert {key: set(value) for key, value in manager.client_connections.items()} == {
        client_id: {first, second}
    }
    assert {key: set(value) for key, value in manager.conversation_connections.items()} == {
        talk: {first, second},
        other_talk: {first},
    }
    assert manager.conversation_connections[talk][first] is connection
    assert connection.user is not None and connection.user.id == alice.id
    assert set(connection.joined) == {talk, other_talk}


async def test_the_mappings_are_emptied_with_the_last_connection(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    ids = [(await add(manager, alice, None, talk))[0] for _ in range(3)]
    for connection_id in ids:
        assert await manager.remove_connection(connection_id)

    assert not manager.active_connections
    assert not manager.client_connections
    assert not manager.conversation_connections


async def test_leaving_empties_the_conversation_but_not_the_client(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    connection_id, _ = await add(manager, alice, None, talk)
    assert await manager.leave_conversation(connection_id, talk)

    assert not manager.conversation_connections
    assert len(manager.client_connections) == 1


async def test_the_mappings_are_read_only(manager: WebSocketManager) -> None:
    for mapping in (
        manager.active_connections,
        manager.client_connections,
        manager.conversation_connections,
    ):
        with pytest.raises(TypeError):
            mapping["x"] = FakeSocket()  # type: ignore[index]

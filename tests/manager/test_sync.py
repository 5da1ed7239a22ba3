"""The synchronous twin, in a process that is no server and in one that is."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from connections.errors import ChannelLayerNotShared
from connections.manager import WebSocketManager, websocket_manager
from ovara import background
from ovara.accounts.models import User
from ovara.ids import new_id
from sessions_app.journal import journal
from sessions_app.models import Message
from sessions_app.services import conversation_create
from tests.support.in_process import FakeSocket, add, make_conversation, make_person

SYNC = websocket_manager.sync


@pytest.fixture
def talk(transactional_db: None) -> Iterator[str]:
    """The id of a conversation; the journal's thread ends with the test."""
    owner = User.objects.create(username="owner")
    yield str(conversation_create(owner=owner).pk)
    journal.close()


def test_every_coroutine_of_the_manager_has_its_twin() -> None:
    coroutines = [
        name
        for name, _ in inspect.getmembers(WebSocketManager, inspect.iscoroutinefunction)
        if not name.startswith("_")
    ]
    assert len(coroutines) >= 12
    for name in coroutines:
        twin = getattr(SYNC, name)
        assert not inspect.iscoroutinefunction(twin)
        assert twin.__doc__ == getattr(WebSocketManager, name).__doc__
        assert list(inspect.signature(twin).parameters) == [
            parameter
            for parameter in inspect.signature(getattr(WebSocketManager, name)).parameters
            if parameter != "self"
        ]


@pytest.mark.parametrize("name", ["node", "_send", "sync", "touch", "no_such_method"])
def test_there_is_no_twin_of_anything_else(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(SYNC, name)


def test_a_plain_thread_posts_and_the_log_says_that_nobody_heard(
    talk: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = SYNC.post_message(talk, "hello")
    assert message.sequence == 1
    assert Message.objects.get().content == "hello"
    assert "Stored, but not delivered" in caplog.text
    assert "REDIS_URL" in caplog.text


def test_a_plain_thread_is_told_what_to_set_before_it_can_send(talk: str) -> None:
    for method in (SYNC.send_to_client, SYNC.send_to_user, SYNC.send_to_conversation):
        with pytest.raises(ChannelLayerNotShared, match="REDIS_URL"):
            method(str(new_id()), {"type": "notification"})
    # A connection that nobody holds needs no layer to reach nobody.
    SYNC.send_to_connection(str(new_id()), {"type": "notification"})


def test_many_threads_share_one_loop(talk: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        messages = list(pool.map(lambda n: SYNC.post_message(talk, f"{n}"), range(40)))
    assert sorted(message.sequence for message in messages) == list(range(1, 41))
    loops = [thread for thread in threading.enumerate() if thread.name == "ovara-loop"]
    assert len(loops) <= 1


def test_a_process_that_is_no_server_reads_statistics_and_ends_nobody(talk: str) -> None:
    assert SYNC.get_connection_stats()["total_connections"] == 0
    assert SYNC.disconnect(str(new_id())) is False
    assert SYNC.cleanup_inactive_connections(max_inactive_minutes=30) == 0


def test_a_coroutine_may_be_awaited_in_any_loop(talk: str) -> None:
    messages = [asyncio.run(websocket_manager.post_message(talk, "hello")) for _ in range(2)]
    assert [message.sequence for message in messages] == [1, 2]


async def test_in_the_loop_itself_the_twin_says_what_to_do(manager: WebSocketManager) -> None:
    with pytest.raises(RuntimeError, match="await the coroutine instead"):
        manager.sync.get_connection_stats()


async def test_a_thread_of_the_server_uses_the_servers_loop(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    connection_id, socket = await add(manager, alice)

    def work() -> list[Any]:
        return [
            manager.sync.join_conversation(connection_id, talk),
            manager.sync.send_to_conversation(talk, {"type": "one"}),
            manager.sync.post_message(talk, "two").sequence,
            manager.sync.leave_conversation(connection_id, talk),
            manager.sync.send_to_user(alice.id, {"type": "three"}),
            manager.sync.disconnect(connection_id),
        ]

    assert await asyncio.to_thread(work) == [True, None, 1, True, None, True]
    sent = socket.of_type("one", "message", "three", "disconnect")
    assert [frame["type"] for frame in sent] == ["one", "message", "three", "disconnect"]


async def test_a_thread_may_hold_a_socket_of_its_own(manager: WebSocketManager) -> None:
    alice = await make_person()
    socket = FakeSocket()

    def work() -> str:
        connection_id: str = manager.sync.add_connection(socket, user_id=alice.id)
        assert manager.sync.authenticate_connection(connection_id)
        return connection_id

    connection_id = await asyncio.to_thread(work)
    await manager.send_to_user(alice.id, {"type": "notification"})
    assert socket.of_type("notification")
    assert manager.node.hub.connections.keys() == {connection_id}


async def test_another_loop_awaits_what_the_servers_loop_does(manager: WebSocketManager) -> None:
    alice = await make_person()
    _, socket = await add(manager, alice)

    def work() -> None:
        asyncio.run(manager.send_to_user(alice.id, {"type": "notification"}))

    await asyncio.to_thread(work)
    assert socket.of_type("notification")


def test_a_caller_waits_until_what_it_set_under_way_is_out() -> None:
    """A process that is no server may end as soon as its caller has the answer."""
    done: list[str] = []

    async def deliver() -> None:
        await asyncio.sleep(0.05)
        done.append("delivered")

    async def answer() -> str:
        background.start(deliver(), name="test delivery", delivers=True)
        return "answer"

    assert background.run(answer()) == "answer"
    assert done == ["delivered"]
    background.tell(lambda: background.start(deliver(), name="test", delivers=True))
    assert done == ["delivered"] * 2

"""`send_to_connection`, `send_to_client`, `send_to_user`, `send_to_conversation`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels.layers import get_channel_layer
from prometheus_client import REGISTRY

from connections.manager import WebSocketManager
from ovara.ids import new_id
from tests.support.in_process import (
    BlockedSocket,
    FakeSocket,
    add,
    make_conversation,
    make_person,
    until,
)

NOTICE = {"type": "notification", "text": "hello"}


async def test_one_connection_gets_what_is_sent_to_it(manager: WebSocketManager) -> None:
    alice = await make_person()
    client_id = str(new_id())
    connection_id, socket = await add(manager, alice, client_id=client_id)
    _, other_tab = await add(manager, alice, client_id=client_id)
    socket.texts.clear()
    await manager.send_to_connection(connection_id, NOTICE)
    assert socket.frames == [NOTICE]
    assert other_tab.frames == []


async def test_all_tabs_of_a_client_get_what_is_sent_to_it(manager: WebSocketManager) -> None:
    alice = await make_person()
    client_id = str(new_id())
    sockets = [(await add(manager, alice, client_id=client_id))[1] for _ in range(3)]
    _, other_client = await add(manager, alice)
    await manager.send_to_client(client_id, NOTICE)
    assert [socket.of_type("notification") for socket in sockets] == [[NOTICE]] * 3
    assert other_client.frames == []


async def test_all_clients_of_a_user_get_what_is_sent_to_them(manager: WebSocketManager) -> None:
    alice, bob = await make_person(), await make_person()
    sockets = [(await add(manager, alice))[1] for _ in range(3)]
    _, others = await add(manager, bob)
    await manager.send_to_user(alice.id, NOTICE)
    assert [socket.frames for socket in sockets] == [[NOTICE]] * 3
    assert others.frames == []


async def test_all_who_joined_get_what_is_sent_to_a_conversation(
    manager: WebSocketManager,
) -> None:
    alice, bob = await make_person(), await make_person()
    talk = await make_conversation(alice, bob)
    _, joined = await add(manager, alice, None, talk)
    _, also_joined = await add(manager, bob, None, talk)
    _, not_joined = await add(manager, bob)
    await manager.send_to_conversation(talk, NOTICE)
    assert joined.of_type("notification") == also_joined.of_type("notification") == [NOTICE]
    assert not_joined.frames == []


async def test_the_excluded_connection_alone_gets_nothing(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    excluded, silent = await add(manager, alice, None, talk)
    _, other_tab = await add(manager, alice, None, talk)
    await manager.send_to_conversation(talk, NOTICE, exclude=excluded)
    assert silent.frames == []
    assert other_tab.frames == [NOTICE]


async def test_who_left_gets_nothing_any_more(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    connection_id, socket = await add(manager, alice, None, talk)
    await manager.leave_conversation(connection_id, talk)
    await manager.send_to_conversation(talk, NOTICE)
    assert socket.frames == []


async def test_ids_that_nobody_knows_reach_nobody_without_an_exception(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    _, socket = await add(manager, alice, None, await make_conversation(alice))
    methods: list[Callable[..., Awaitable[None]]] = [
        manager.send_to_connection,
        manager.send_to_client,
        manager.send_to_user,
        manager.send_to_conversation,
    ]
    for send in methods:
        for unknown in (str(new_id()), new_id(), "nobody", "", "no/group name"):
            await send(unknown, NOTICE)
    assert socket.frames == []


@pytest.mark.parametrize("frame", [{}, {"type": ""}, {"type": 7}, {"type": None}])
async def test_a_frame_without_a_type_is_refused(
    manager: WebSocketManager, frame: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="`type`"):
        await manager.send_to_user(new_id(), frame)


async def test_a_frame_is_encoded_once_and_every_member_gets_that_very_text(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    sockets = [(await add(manager, alice, None, talk))[1] for _ in range(5)]
    await manager.send_to_conversation(talk, NOTICE)
    await manager.post_message(talk, "hello")
    for position in range(2):
        texts = {id(socket.texts[position]) for socket in sockets}
        assert len(texts) == 1


async def test_a_layer_that_reaches_no_other_process_is_in_no_groups(
    manager: WebSocketManager,
) -> None:
    """On Redis it is one member a node and audience: tests/cluster/test_groups.py."""
    alice = await make_person()
    talk = await make_conversation(alice)
    _, socket = await add(manager, alice, None, talk)
    await manager.send_to_conversation(talk, NOTICE)
    await until(lambda: socket.frames == [NOTICE])
    assert not [name for name in get_channel_layer().groups if not name.startswith("probe.")]


class WatchedSocket(FakeSocket):
    """Knows in which task and thread it was written to."""

    seen: set[tuple[Any, int]]

    async def send_text(self, text: str) -> None:
        self.seen.add((asyncio.current_task(), threading.get_ident()))
        await super().send_text(text)


async def test_a_fan_out_to_200_makes_no_task_and_no_thread_hop(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    seen: set[tuple[Any, int]] = set()
    sockets = [WatchedSocket() for _ in range(200)]
    made: list[asyncio.Task[Any]] = []

    def counted(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(asyncio.Task(coroutine, loop=loop, **options))
        return made[-1]

    for socket in sockets:
        socket.seen = seen
        # Without the database: what is measured is the fan-out alone.
        connection = manager.node.local.new_connection(socket)
        manager.node.hub.add(connection)
        manager.node.hub.begin_join(connection, talk)
        manager.node.hub.finish_join(connection, talk, 0)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(counted)
    try:
        for _ in range(10):
            await manager.send_to_conversation(talk, NOTICE)
    finally:
        loop.set_task_factory(None)
        delivered = [len(socket.texts) for socket in sockets]
        manager.node.hub.clear()

    assert delivered == [10] * 200
    assert made == []
    assert seen == {(asyncio.current_task(), threading.get_ident())}


async def test_a_message_to_200_makes_no_task_for_each_of_them(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    sockets = [FakeSocket() for _ in range(200)]
    for socket in sockets:
        connection = manager.node.local.new_connection(socket)
        manager.node.hub.add(connection)
        manager.node.hub.begin_join(connection, talk)
        manager.node.hub.finish_join(connection, talk, 0)
    made: list[asyncio.Task[Any]] = []

    def counted(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(asyncio.Task(coroutine, loop=loop, **options))
        return made[-1]

    loop = asyncio.get_running_loop()
    loop.set_task_factory(counted)
    try:
        await manager.post_message(talk, "hello")
    finally:
        loop.set_task_factory(None)
        manager.node.hub.clear()
    assert all(len(socket.of_type("message")) == 1 for socket in sockets)
    # One for the message itself, one for the participants' lists; a reader thread may need one.
    assert len(made) < 10


async def test_frames_come_in_the_order_they_were_sent(manager: WebSocketManager) -> None:
    alice = await make_person()
    connection_id, socket = await add(manager, alice)
    for number in range(50):
        await manager.send_to_user(alice.id, {"type": "count", "number": number})
        await manager.send_to_connection(connection_id, {"type": "count", "number": number + 0.5})
    numbers = [frame["number"] for frame in socket.frames]
    assert numbers == sorted(numbers) and len(numbers) == 100


async def test_a_blocked_socket_holds_up_nobody_and_misses_nothing(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    blocked = BlockedSocket()
    connection_id, _ = await add(manager, alice, blocked, talk)
    _, quick = await add(manager, alice, None, talk)
    for number in range(20):
        await manager.send_to_conversation(talk, {"type": "count", "number": number})
    assert [frame["number"] for frame in quick.of_type("count")] == list(range(20))
    assert blocked.texts == []
    assert manager.active_connections[connection_id].outbox.waiting > 0

    blocked.read.set()
    await until(lambda: len(blocked.of_type("count")) == 20)
    assert [frame["number"] for frame in blocked.of_type("count")] == list(range(20))
    assert manager.active_connections[connection_id].outbox.waiting == 0


async def test_what_waits_is_counted_in_bytes_of_the_wire(manager: WebSocketManager) -> None:
    alice = await make_person()
    connection_id, _ = await add(manager, alice, socket := BlockedSocket())
    frame = {"type": "é", "text": "日本語" * 10}
    await manager.send_to_connection(connection_id, frame)
    await manager.send_to_connection(connection_id, frame)
    outbox = manager.active_connections[connection_id].outbox
    waiting = outbox.waiting
    socket.read.set()
    await until(lambda: len(socket.texts) == 2)
    assert waiting == sum(len(text.encode()) for text in socket.texts)


async def test_a_type_of_server_codes_own_makes_no_metric_of_its_own(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    await add(manager, alice)

    def sent(frame_type: str) -> float | None:
        return REGISTRY.get_sample_value("ovara_frames_sent_total", {"type": frame_type})

    before = sent("other") or 0
    await manager.send_to_user(alice.id, {"type": "job-4711"})
    assert sent("other") == before + 1
    assert sent("job-4711") is None

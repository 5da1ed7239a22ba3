"""Peers that read slowly, or not at all, or are gone."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import override_settings
from prometheus_client import REGISTRY

from connections import outbox as outbox_module
from connections.close_codes import CloseCode
from connections.manager import WebSocketManager
from connections.models import Connection
from ovara.database import in_thread
from tests.support.in_process import (
    BlockedSocket,
    BrokenSocket,
    add,
    make_conversation,
    make_person,
    until,
)

SMALL_OUTBOX_BYTES = 2_000


@pytest.fixture
def small_outbox() -> Iterator[None]:
    small = dataclasses.replace(settings.OVARA, outbox_max_bytes=SMALL_OUTBOX_BYTES)
    with override_settings(OVARA=small):
        yield


@pytest.fixture
def short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FAREWELL_SECONDS", 0.05)


def outbox_bytes() -> float:
    return REGISTRY.get_sample_value("ovara_outbox_bytes") or 0


def drops() -> float:
    return REGISTRY.get_sample_value("ovara_drops_total", {"reason": "slow_consumer"}) or 0


async def test_an_outbox_that_overflows_ends_its_connection_alone_with_4413(
    manager: WebSocketManager, small_outbox: None
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    slow = BlockedSocket()
    connection_id, _ = await add(manager, alice, slow, talk)
    _, quick = await add(manager, alice, None, talk)
    before, dropped_before = outbox_bytes(), drops()
    for _ in range(10):
        await manager.send_to_conversation(talk, {"type": "filler", "text": "x" * 500})
    assert connection_id not in manager.active_connections
    assert set(manager.conversation_connections[talk]) == {
        key for key in manager.active_connections if key != connection_id
    }
    assert len(quick.of_type("filler")) == 10

    # It was reading after all: the farewell comes, and nothing of what was dropped.
    slow.read.set()
    await until(lambda: slow.closed)
    assert slow.closed == (CloseCode.OVERLOADED, "this client reads too slowly")
    assert len(slow.of_type("filler")) == 1
    assert slow.frames[-1] == {
        "type": "disconnect",
        "code": 4413,
        "reason": "this client reads too slowly",
        "reconnect": True,
    }
    assert outbox_bytes() == before
    # One was on its way, two waited, the fourth was too much; the others never came near it.
    assert drops() == dropped_before + 3


async def test_a_peer_that_never_reads_again_is_cut_off(
    manager: WebSocketManager, small_outbox: None, short_farewell: None
) -> None:
    alice = await make_person()
    slow = BlockedSocket()
    connection_id, _ = await add(manager, alice, slow)
    before = outbox_bytes()
    for _ in range(6):
        await manager.send_to_connection(connection_id, {"type": "filler", "text": "x" * 500})
    await until(lambda: slow.closed)
    assert slow.closed is not None and slow.closed[0] == CloseCode.OVERLOADED
    assert slow.texts == []
    assert outbox_bytes() == before


async def test_typing_and_presence_are_dropped_before_the_connection_is(
    manager: WebSocketManager, small_outbox: None
) -> None:
    alice, bob = await make_person(), await make_person()
    talk = await make_conversation(alice, bob)
    slow = BlockedSocket()
    connection_id, _ = await add(manager, alice, slow, talk)
    dropped_before = drops()
    filler = {"type": "filler", "text": "x" * 500}
    for _ in range(3):
        await manager.send_to_conversation(talk, filler)
    for _ in range(100):
        await manager.send_to_conversation(talk, {"type": "typing", "text": "x" * 500})
    assert connection_id in manager.active_connections
    assert drops() == dropped_before + 100

    slow.read.set()
    await until(lambda: len(slow.texts) == 3)
    assert slow.frames == [filler] * 3


async def test_a_socket_that_fails_is_forgotten_and_the_others_feel_nothing(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    connection_id, _ = await add(manager, alice, None, talk)
    _, healthy = await add(manager, alice, None, talk)
    broken = BrokenSocket()
    manager.active_connections[connection_id].outbox._socket = broken
    await manager.send_to_conversation(talk, {"type": "first"})
    await manager.send_to_conversation(talk, {"type": "second"})

    assert [frame["type"] for frame in healthy.frames] == ["first", "second"]
    await until(lambda: connection_id not in manager.active_connections)
    await until(lambda: in_thread(Connection.objects.filter(close_code=1006).exists))
    row = await in_thread(Connection.objects.get, pk=connection_id)
    assert row.close_reason == "a send failed"


async def test_a_socket_that_fails_later_is_forgotten_too(manager: WebSocketManager) -> None:
    class LateFailure(BlockedSocket):
        async def send_text(self, text: str) -> None:
            await self.read.wait()
            raise ConnectionResetError("the peer is gone")

    alice = await make_person()
    socket = LateFailure()
    connection_id, _ = await add(manager, alice, socket)
    before = outbox_bytes()
    await manager.send_to_connection(connection_id, {"type": "first"})
    await manager.send_to_connection(connection_id, {"type": "second"})
    assert outbox_bytes() > before
    socket.read.set()
    await until(lambda: connection_id not in manager.active_connections)
    assert outbox_bytes() == before


async def test_a_socket_that_waits_in_several_places_gets_every_frame_once(
    manager: WebSocketManager,
) -> None:
    """A send is begun in the publisher's task and finished in another."""

    class Winding(BlockedSocket):
        async def send_text(self, text: str) -> None:
            await asyncio.sleep(0)
            await super().send_text(text)
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))

    alice = await make_person()
    socket = Winding()
    connection_id, _ = await add(manager, alice, socket)
    for number in range(5):
        await manager.send_to_connection(connection_id, {"type": "count", "number": number})
    socket.read.set()
    await until(lambda: len(socket.texts) == 5)
    assert [frame["number"] for frame in socket.frames] == list(range(5))


async def test_a_farewell_to_a_peer_that_has_gone_harms_nobody(
    manager: WebSocketManager, caplog: pytest.LogCaptureFixture
) -> None:
    class GoesAway(BlockedSocket):
        async def send_text(self, text: str) -> None:
            await self.read.wait()
            raise ConnectionResetError("the peer is gone")

    alice = await make_person()
    socket = GoesAway()
    connection_id, _ = await add(manager, alice, socket)
    await manager.send_to_connection(connection_id, {"type": "first"})
    assert await manager.disconnect(connection_id)
    socket.read.set()
    await until(lambda: "a send failed" in caplog.text)
    await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []

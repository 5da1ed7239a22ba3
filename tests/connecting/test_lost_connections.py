"""Clients that go without a word, or speak no WebSocket: the server goes on as if nothing were."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from connections.models import Connection
from tests.connecting.conftest import (
    Connect,
    ConnectRaw,
    MakeConversation,
    closed_row,
    row_of,
    until,
)
from tests.connecting.raw import RawClient
from tests.support.client import WireClient
from tests.support.server import ServerProcess

HANDSHAKE = (
    "GET /ws/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
END = b"\r\n"


@pytest.fixture
async def witness(any_server: ServerProcess, connect: Connect) -> WireClient:
    """Somebody who shall feel nothing."""
    return await connect(any_server, any_server.make_user())


@pytest.fixture
def tcp(any_server: ServerProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", any_server.port), timeout=5) as connection:
        yield connection


async def is_well(server: ServerProcess, witness: WireClient, connect: Connect) -> None:
    assert (await witness.request({"type": "ping"}))["type"] == "pong"
    assert (await connect(server, server.make_user())).welcome["authenticated"] is True


async def test_a_client_that_is_reset_is_forgotten_and_its_tabs_and_friends_hear_of_it(
    any_server: ServerProcess,
    connect: Connect,
    connect_raw: ConnectRaw,
    make_conversation: MakeConversation,
    witness: WireClient,
) -> None:
    alice, bob = any_server.make_user(), any_server.make_user()
    conversation_id = await make_conversation(any_server, alice, bob)
    friend = await connect(any_server, bob)
    await friend.join(conversation_id)
    lost: RawClient = await connect_raw(any_server, alice.token())
    tab = await connect(any_server, alice, client_id=lost.welcome["client_id"])
    lost.send({"type": "join", "id": "j", "conversation_id": conversation_id})
    await friend.expect("user_joined", user=alice.as_json)
    lost.reset()
    row = await closed_row(any_server, lost.welcome["connection_id"])
    assert row.close_code in {1005, 1006}
    await tab.expect("client_connections", count=1)
    await friend.expect("user_left", user=alice.as_json)
    await is_well(any_server, witness, connect)


async def test_many_that_are_reset_in_the_middle_of_everything(
    any_server: ServerProcess,
    connect: Connect,
    connect_raw: ConnectRaw,
    make_conversation: MakeConversation,
    witness: WireClient,
) -> None:
    alice = any_server.make_user()
    conversation_id = await make_conversation(any_server, alice)
    clients = [await connect_raw(any_server, alice.token()) for _ in range(8)]
    for number, client in enumerate(clients):
        client.send({"type": "join", "id": "j", "conversation_id": conversation_id, "since": 0})
        client.send({"type": "history", "id": "h", "conversation_id": conversation_id})
        message = {"type": "message", "content": "last words", "client_message_id": str(number)}
        client.send(message | {"conversation_id": conversation_id})
        client.reset()
    mark = any_server.log_mark()
    await asyncio.gather(
        *(closed_row(any_server, client.welcome["connection_id"]) for client in clients)
    )
    await is_well(any_server, witness, connect)
    assert "Traceback" not in "\n".join(any_server.logs().splitlines()[mark:])


async def test_a_client_that_goes_before_it_is_registered_leaves_nothing_open(
    any_server: ServerProcess, connect: Connect, witness: WireClient
) -> None:
    alice = any_server.make_user()
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", any_server.port)) as tcp:
            tcp.sendall(f"{HANDSHAKE}Authorization: Bearer {alice.token()}\r\n\r\n".encode())
    # Those that were registered before their end was seen are closed; a newcomer finds room.
    for _ in range(3):
        assert (await connect(any_server, alice)).welcome

    def are_open(alias: str) -> int:
        found = Connection.objects.using(alias).filter(user=alice.id, disconnected_at=None)
        return found.count()

    await until(lambda: any_server.database.run(are_open) == 3)
    await is_well(any_server, witness, connect)


GARBAGE = {
    "nothing": b"",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "zeros": b"\x00" * 1000,
    "half a request": b"GET /ws/ HTTP/1.1\r\n",
    "half a handshake": HANDSHAKE.encode(),
    "a bad key": HANDSHAKE.replace("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: short").encode() + END,
    "an old version": HANDSHAKE.replace("Version: 13", "Version: 7").encode() + END,
    "control characters": HANDSHAKE.encode() + b"User-Agent: a\x00b\x07c\r\n" + END,
    "no frames": HANDSHAKE.encode() + END + b"\xff" * 2000,
    "half a frame": HANDSHAKE.encode() + END + b"\x81\xfe",
    "an unmasked frame": HANDSHAKE.encode() + END + b"\x81\x05hello",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_websocket_harms_nobody(
    any_server: ServerProcess,
    connect: Connect,
    witness: WireClient,
    tcp: socket.socket,
    garbage: bytes,
) -> None:
    mark = any_server.log_mark()
    tcp.sendall(garbage)
    await is_well(any_server, witness, connect)
    tcp.close()
    await is_well(any_server, witness, connect)
    assert "Traceback" not in "\n".join(any_server.logs().splitlines()[mark:])


@pytest.mark.parametrize(
    ("header", "shown"),
    [("x" * 1000, "x" * 300), ("Möbel/1.0", "Möbel/1.0"), ("a\tb", "ab"), ("", "")],
)
async def test_a_user_agent_is_kept_as_far_as_it_is_fit_to_be_shown(
    any_server: ServerProcess, connect_raw: ConnectRaw, header: str, shown: str
) -> None:
    with socket.create_connection(("127.0.0.1", any_server.port), timeout=5) as tcp:
        tcp.sendall(HANDSHAKE.encode() + b"User-Agent: " + header.encode("latin1") + b"\r\n\r\n")
        answer = b""
        while b'"connection_id":"' not in answer:
            answer += tcp.recv(4096)
        connection_id = answer.partition(b'"connection_id":"')[2][:36].decode()
        assert row_of(any_server, connection_id).user_agent == shown
        assert row_of(any_server, connection_id).ip_address == "127.0.0.1"

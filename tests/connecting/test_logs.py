"""A connection's life in the log: one line each, with ids; never a token, a password, a content."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from tests.connecting.conftest import Connect, MakeConversation, closed_row, fields_of, refused
from tests.support.client import WireClient
from tests.support.server import ServerProcess

pytestmark = pytest.mark.storeless

# Looks like no word of ours, so that it can be searched for.
SECRET = "Zugvogel-Xylophon"
EVENTS = ("connected", "authenticated", "joined", "closed", "refused")


def events_of(server: ServerProcess, connection_id: str) -> list[tuple[str, dict[str, str]]]:
    """The events of a connection, each with its fields, in order."""
    found = []
    for line in server.logs().splitlines():
        match = re.search(rf" INFO connections ({'|'.join(EVENTS)}) (.*)$", line)
        if match and f"connection={connection_id}" in line:
            found.append((match[1], fields_of(match[2])))
    return found


async def whole_life(
    server: ServerProcess, client: WireClient, conversation_id: str
) -> list[tuple[str, dict[str, str]]]:
    await client.join(conversation_id)
    await client.close()
    await server.wait_for_log(f"closed connection={client.connection_id}")
    return events_of(server, client.connection_id)


@pytest.mark.parametrize("via", ["header", "subprotocol", "frame"])
async def test_each_step_of_a_connection_is_one_line_with_its_ids(
    any_server: ServerProcess, connect: Connect, make_conversation: MakeConversation, via: str
) -> None:
    alice = any_server.make_user()
    conversation_id = await make_conversation(any_server, alice)
    client = await connect(any_server, alice, via=via)
    events = await whole_life(any_server, client, conversation_id)
    assert [name for name, _ in events] == ["connected", "authenticated", "joined", "closed"]
    connected, authenticated, joined, closed = (fields for _, fields in events)
    who = {
        "connection": client.connection_id,
        "client": client.client_id,
        "user": alice.id,
        "session": client.session_id,
    }
    # Who comes by frame is nobody yet.
    known = {"connection": client.connection_id} if via == "frame" else who
    assert connected == known | {"address": "127.0.0.1"}
    assert authenticated == who
    assert joined.items() >= {
        *who.items(),
        ("conversation", conversation_id),
    }
    assert closed == who | {
        "code": "1000",
        "reason": closed["reason"],
        "seconds": closed["seconds"],
    }
    assert closed["reason"]
    assert 0 < float(closed["seconds"]) < 60


async def test_the_end_is_told_with_its_code_and_words(
    any_server: ServerProcess, connect: Connect, rest: Callable[..., httpx.AsyncClient]
) -> None:
    client = await connect(any_server, any_server.make_user())
    staff = rest(any_server, any_server.make_user(is_staff=True))
    await staff.delete(f"/api/connections/{client.connection_id}")
    await client.closed()
    await any_server.wait_for_log(f"closed connection={client.connection_id}")
    name, fields = events_of(any_server, client.connection_id)[-1]
    assert name == "closed"
    assert (fields["code"], fields["reason"]) == ("4510", "disconnected by an administrator")


async def test_a_refusal_is_one_line(any_server: ServerProcess, connect: Connect) -> None:
    mark = any_server.log_mark()
    await refused(connect, any_server, None, client_id="malformed")
    line = await any_server.wait_for_log(r"INFO connections refused (.*)", since=mark)
    fields = fields_of(line[1])
    assert fields["code"] == "4500"
    assert fields["reason"] == "client_id is not a UUID"
    assert fields["address"] == "127.0.0.1"
    lines = any_server.logs().splitlines()[mark:]
    assert sum(fields["connection"] in line for line in lines) == 1


async def test_what_a_client_writes_cannot_forge_a_line(
    any_server: ServerProcess, connect: Connect
) -> None:
    forged = 'x"\nINFO connections closed code=1\r\x1b[2J\u2028'
    client = await connect(any_server, any_server.make_user())
    mark = any_server.log_mark()
    await client.socket.close(4000, forged)
    await closed_row(any_server, client.connection_id)
    await any_server.wait_for_log(f"closed connection={client.connection_id}", since=mark)
    lines = any_server.logs().splitlines()[mark:]
    assert not [line for line in lines if line.startswith("INFO connections closed code=1")]
    assert "\x1b" not in "".join(lines)
    about = [line for line in lines if f" closed connection={client.connection_id}" in line]
    assert len(about) == 1
    assert fields_of(about[0])["code"] == "4000"


async def test_no_token_password_or_content_is_in_the_log(
    open_server: ServerProcess,
    connect: Connect,
    make_conversation: MakeConversation,
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    server = open_server
    alice, bob = server.make_user(), server.make_user()
    http = rest(server, alice)
    conversation_id = await make_conversation(server, alice, bob)
    credentials = {"username": alice.username, "password": alice.password}
    pair = (await http.post("/api/token/", json=credentials)).json()
    await http.post("/api/token/", json=credentials | {"password": SECRET})
    tokens = [pair["access"], pair["refresh"], alice.token(), bob.token()]
    clients = [
        await connect(server, token=tokens[0], via="query"),
        await connect(server, token=tokens[2], via="subprotocol"),
        await connect(server, token=tokens[3], via="frame"),
    ]
    await refused(connect, server, None, token=tokens[1], via="query")
    # Neither one with another token of no use, nor with a name that is written otherwise.
    await refused(connect, server, None, token=f"eyJ{SECRET}", via="query")
    await connect(server, query={"Token": tokens[0], "x": tokens[1]})

    client = clients[0]
    await client.join(conversation_id)
    await client.message(conversation_id, SECRET, metadata={SECRET: SECRET})
    await client.request({"type": "state", "state": {SECRET: SECRET}})
    await client.request({"type": "authenticate", "token": tokens[0]})
    await client.request({"type": "authenticate", "token": SECRET})
    await client.request({"type": SECRET})
    await client.send_raw(SECRET)
    await client.request({"type": "history", "conversation_id": SECRET})
    await client.request({"type": "message", "conversation_id": conversation_id, "content": SECRET})
    body = {"content": SECRET, "client_message_id": SECRET}
    await http.post(f"/api/conversations/{conversation_id}/messages", json=body)
    await http.post("/api/conversations", json={"title": SECRET})
    for one in clients:
        await one.close()
        await server.wait_for_log(f"closed connection={one.connection_id}")

    log = server.logs()
    assert SECRET not in log
    assert alice.password not in log
    for token in tokens:
        assert token not in log
        assert token.rpartition(".")[2] not in log, "its signature alone"
    # Of no other test on this server either.
    assert re.search(r"eyJ[\w-]{10,}\.", log) is None

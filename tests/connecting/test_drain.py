"""SIGTERM: everybody is sent to come back elsewhere, the rows are closed, the exit code is 0."""

from __future__ import annotations

import asyncio
import signal

import pytest

from connections.models import Connection, Node
from tests.connecting.conftest import Connect, MakeConversation, ServerWith, row_of
from tests.support.server import KINDS, ServerProcess


async def drain(server: ServerProcess, number: signal.Signals = signal.SIGTERM) -> int:
    server.signal(number)
    return await asyncio.to_thread(server.wait, timeout=20)


@pytest.mark.parametrize(
    ("kind", "is_settled"), [("daphne", True), *((kind, False) for kind in KINDS)]
)
async def test_sigterm_sends_everybody_away_and_ends_well(
    server_with: ServerWith,
    connect: Connect,
    make_conversation: MakeConversation,
    kind: str,
    is_settled: bool,
) -> None:
    server = server_with(kind=kind)
    alice = server.make_user()
    conversation_id = await make_conversation(server, alice)
    tabs = [await connect(server, alice) for _ in range(5)]
    anonymous = await connect(server)
    await tabs[0].join(conversation_id)
    stored = await tabs[0].message(conversation_id, "just before")
    if is_settled:
        # Daphne clears up once a second behind a handshake. Until then its own end of the
        # applications fails, and the consumers get no chance to be in the way. No event tells.
        await asyncio.sleep(1.3)

    assert await drain(server) == 0

    ends = [await tab.closed() for tab in [*tabs, anonymous]]
    for end in ends:
        assert end.code == 4412
        assert end.disconnect is not None
        assert end.disconnect["reconnect"] is True
    delays = [end.disconnect["retry_after"] for end in ends if end.disconnect]
    assert all(0.5 <= delay <= 5 for delay in delays), delays
    assert len(set(delays)) == len(delays), "they would all come back at the same moment"

    assert "Traceback" not in server.logs()
    assert row_of(server, tabs[0].connection_id).close_code == 4412
    assert server.database.run(lambda a: Node.objects.using(a).get()).stopped_at is not None
    open_rows = Connection.objects.filter(disconnected_at__isnull=True)
    assert server.database.run(lambda alias: open_rows.using(alias).count()) == 0

    server.restart()
    again = await connect(server, alice, client_id=tabs[0].client_id)
    assert (await again.join(conversation_id, since=0))["messages"] == [stored]


async def test_ctrl_c_drains_uvicorn_too(server_with: ServerWith, connect: Connect) -> None:
    server = server_with(kind="ovara")
    client = await connect(server, server.make_user())
    assert await drain(server, signal.SIGINT) == 0
    assert (await client.closed()).code == 4412


@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_that_was_being_stored_is_stored(
    server_with: ServerWith, connect: Connect, make_conversation: MakeConversation, kind: str
) -> None:
    """What was sent before the signal is either acknowledged or, sent again, stored once."""
    server = server_with(kind=kind, OVARA_FRAMES_PER_SECOND="1000", OVARA_FRAME_BURST="1000")
    alice = server.make_user()
    conversation_id = await make_conversation(server, alice)
    client = await connect(server, alice)
    frames = [_message(conversation_id, number) for number in range(100)]
    for frame in frames:
        await client.send(frame)
    assert await drain(server) == 0
    assert (await client.closed()).code == 4412
    acknowledged = {f["message"]["client_message_id"] for f in client.frames if f["type"] == "ack"}

    server.restart()
    again = await connect(server, alice)
    answers = [await again.request(frame) for frame in frames]
    assert {answer["type"] for answer in answers} == {"ack"}
    duplicates = {a["message"]["client_message_id"] for a in answers if a.get("duplicate")}
    assert acknowledged <= duplicates
    assert [answer["message"]["sequence"] for answer in answers] == list(range(1, 101))


def _message(conversation_id: str, number: int) -> dict[str, str]:
    return {
        "type": "message",
        "conversation_id": conversation_id,
        "content": f"number {number}",
        "client_message_id": f"m-{number}",
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_who_comes_while_the_server_drains_is_sent_away(
    server_with: ServerWith, connect: Connect, kind: str
) -> None:
    """The drain is held up by a database that is locked: a write of ours holds it."""
    server = server_with(kind=kind)
    alice = server.make_user()
    client = await connect(server, alice)
    with server.database.write_lock():
        server.signal(signal.SIGTERM)
        assert (await client.closed()).code == 4412
        late = await connect(server, alice)
        end = await late.closed()
        assert late.welcome == {}
        assert end.code == 4412
        assert end.disconnect is not None
        assert end.disconnect["retry_after"] >= 0.5
    assert await asyncio.to_thread(server.wait, timeout=30) == 0


# Daphne cancels it: the client sees a connection that was lost, and comes back as well.
@pytest.mark.parametrize("kind", ["uvicorn", "ovara"])
async def test_who_is_being_registered_when_the_drain_begins_is_sent_away(
    server_with: ServerWith, connect: Connect, kind: str
) -> None:
    server = server_with(kind=kind)
    alice = server.make_user()
    client = await connect(server, alice)
    with server.database.write_lock():
        waiting = asyncio.create_task(connect(server, alice))
        # It is accepted, and can't be registered: nothing tells.
        await asyncio.sleep(0.5)
        server.signal(signal.SIGTERM)
        assert (await client.closed()).code == 4412
    late = await waiting
    assert (await late.closed()).code == 4412
    assert late.welcome == {}
    assert await asyncio.to_thread(server.wait, timeout=30) == 0

"""Who does not read what is sent: bounded in memory, ended with 4413, and nobody else feels it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.connecting.conftest import (
    Connect,
    ConnectRaw,
    MakeConversation,
    ServerWith,
    closed_row,
)
from tests.connecting.raw import RawClient
from tests.support.client import WireClient
from tests.support.server import KINDS, ServerProcess

pytestmark = pytest.mark.storeless

SMALL_OUTBOX = {
    "OVARA_OUTBOX_MAX_BYTES": "100000",
    "OVARA_FRAMES_PER_SECOND": "100000",
    "OVARA_FRAME_BURST": "100000",
}
SLOW_ONES = 8
# Each is 30 kB. What nobody reads fills the kernel's buffers (up to 4 MiB) before the outbox.
CONTENT, MESSAGES = "x" * 30_000, 300


def resident_bytes(server: ServerProcess) -> int:
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


async def join_and_read_no_more(client: RawClient, conversation_id: str) -> None:
    client.send({"type": "join", "id": "j", "conversation_id": conversation_id})
    answer = await asyncio.to_thread(client.read)
    assert (answer["type"], answer["id"]) == ("ack", "j")


async def flood(sender: WireClient, conversation_id: str, *, beside: WireClient) -> float:
    """Send all the messages; the longest that `beside` waited for a pong meanwhile, in seconds."""

    async def send() -> None:
        for number in range(MESSAGES):
            await sender.message(conversation_id, CONTENT, client_message_id=f"flood-{number}")

    sending = asyncio.create_task(send())
    longest = 0.0
    while not sending.done():
        started = time.monotonic()
        await beside.barrier()
        longest = max(longest, time.monotonic() - started)
        await asyncio.wait([sending], timeout=0.05)
    await sending
    return longest


@pytest.mark.parametrize("kind", KINDS)
async def test_those_who_do_not_read_are_ended_and_nobody_else_feels_it(
    server_with: ServerWith,
    connect: Connect,
    connect_raw: ConnectRaw,
    make_conversation: MakeConversation,
    kind: str,
) -> None:
    server = server_with(kind=kind, **SMALL_OUTBOX)
    alice, bob, carol = (server.make_user() for _ in range(3))
    conversation_id = await make_conversation(server, alice, bob, carol)
    sender, reader = await connect(server, alice), await connect(server, bob)
    await sender.join(conversation_id)
    await reader.join(conversation_id)
    memory_before = resident_bytes(server)
    slow = [await connect_raw(server, carol.token()) for _ in range(SLOW_ONES)]
    for client in slow:
        await join_and_read_no_more(client, conversation_id)

    async def read_again(client: RawClient) -> list[dict[str, Any]]:
        ended = f"closed connection={client.welcome['connection_id']}"
        await server.wait_for_log(ended, timeout=20)
        return await asyncio.to_thread(client.read_to_the_end)

    slowest_pong, frames = await asyncio.gather(
        flood(sender, conversation_id, beside=reader), read_again(slow[0])
    )
    assert slowest_pong < 2
    for number in range(1, MESSAGES + 1):
        frame = await reader.expect("message")
        assert frame["message"]["sequence"] == number

    # One who reads again in time learns why; what it missed can be fetched.
    assert (frames[-1]["type"], frames[-1]["reconnect"]) == ("disconnect", True)
    assert slow[0].close_code == frames[-1]["code"] == 4413
    received = [frame["message"]["sequence"] for frame in frames if frame["type"] == "message"]
    assert received == list(range(1, len(received) + 1))
    again = await connect(server, carol)
    ack = await again.join(conversation_id, since=received[-1])
    assert ack["recovered"] is True
    assert ack["messages"][0]["sequence"] == received[-1] + 1

    for client in slow:
        row = await closed_row(server, client.welcome["connection_id"])
        assert (row.close_code, row.close_reason) == (4413, "this client reads too slowly")
    # Unbounded, it would be eight times nine megabytes.
    assert resident_bytes(server) - memory_before < 45_000_000

    # Those who never read are cut off, and do not hold up the end of the server.
    assert await asyncio.to_thread(server.terminate, timeout=10) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_who_reads_slowly_but_steadily_gets_everything(
    server_with: ServerWith,
    connect: Connect,
    connect_raw: ConnectRaw,
    make_conversation: MakeConversation,
    kind: str,
) -> None:
    """What waits while it does not read is within the outbox: nothing is lost, nobody is ended."""
    server = server_with(kind=kind, **SMALL_OUTBOX | {"OVARA_OUTBOX_MAX_BYTES": "20000000"})
    alice = server.make_user()
    conversation_id = await make_conversation(server, alice)
    sender = await connect(server, alice)
    slow = await connect_raw(server, alice.token())
    await join_and_read_no_more(slow, conversation_id)
    await flood(sender, conversation_id, beside=sender)

    def read_all() -> list[int]:
        frames = []
        while len(frames) < MESSAGES:
            frame = slow.read()
            if frame["type"] == "message":
                frames.append(frame["message"]["sequence"])
        return frames

    assert await asyncio.to_thread(read_all) == list(range(1, MESSAGES + 1))

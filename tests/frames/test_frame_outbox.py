"""What a connection gets in one turn of the loop, and in a moment, leaves in one write."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from connections.frame_outbox import LINGER_SECONDS, LINGERERS_A_TURN, FrameOutbox
from connections.hub import ConnectionInfo, Hub
from connections.publication import publication
from ovara.server.frames import text_frame
from sessions_app.records import UserRef
from tests.frames.transport import Transport

pytestmark = pytest.mark.storeless


def outbox_of(transport: Transport) -> FrameOutbox:
    def unexpected(*arguments: Any) -> None:
        raise AssertionError(arguments)

    return FrameOutbox(transport, "c1", 1_000, unexpected)


def frames(*texts: str) -> bytes:
    return b"".join(map(text_frame, texts))


async def end_of_turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_one_turn_brings_leaves_in_one_write() -> None:
    transport = Transport()
    outbox = outbox_of(transport)
    outbox.put("one")
    outbox.put("two")
    outbox.put_soon("three")
    assert transport.writes == []
    await end_of_turn()
    assert transport.writes == [frames("one", "two", "three")]


async def test_what_may_wait_leaves_with_the_next_frame_and_before_it() -> None:
    transport = Transport()
    outbox = outbox_of(transport)
    outbox.put_soon("a line")
    outbox.put_soon("another")
    await end_of_turn()
    assert transport.writes == []
    outbox.put("a message")
    await end_of_turn()
    assert transport.writes == [frames("a line", "another", "a message")]
    await asyncio.sleep(2 * LINGER_SECONDS)
    assert len(transport.writes) == 1


async def test_what_waits_for_company_in_vain_leaves_in_a_moment() -> None:
    transport = Transport()
    outbox_of(transport).put_soon("a line")
    began_at = asyncio.get_running_loop().time()
    async with asyncio.timeout(10):
        await transport.written.wait()
    assert asyncio.get_running_loop().time() - began_at > 0.9 * LINGER_SECONDS
    assert transport.writes == [frames("a line")]


async def test_a_large_frame_and_a_farewell_do_not_overtake_it() -> None:
    transport = Transport()
    outbox = outbox_of(transport)
    outbox.put_soon("a line")
    outbox.put("x" * 10_000)
    assert transport.writes == [frames("a line", "x" * 10_000)]
    outbox.put_soon("another")
    outbox.close("farewell", 4001, "", discard=False)
    assert transport.writes[1:] == [frames("another"), frames("farewell"), 4001]
    outbox.put_soon("too late")
    await asyncio.sleep(2 * LINGER_SECONDS)
    assert len(transport.writes) == 4


async def test_it_waits_in_line_where_the_peer_reads_slowly() -> None:
    transport = Transport()
    outbox = outbox_of(transport)
    transport.is_writable = False
    outbox.put("first")
    outbox.put_soon("second")
    await asyncio.sleep(2 * LINGER_SECONDS)
    assert transport.writes == []
    transport.is_writable = True
    assert transport.writing_resumed is not None
    transport.writing_resumed()
    assert transport.writes == [frames("first"), frames("second")]


async def test_many_that_waited_in_vain_leave_the_loop_to_others_in_between() -> None:
    transports = [Transport() for _ in range(3 * LINGERERS_A_TURN)]
    for transport in transports:
        outbox_of(transport).put_soon("a line")
    turn, written_in = 0, Counter[int]()
    async with asyncio.timeout(10):
        while sum(written_in.values()) < len(transports):
            await asyncio.sleep(0)
            turn += 1
            done = sum(bool(transport.writes) for transport in transports)
            written_in[turn] = done - sum(written_in.values())
    assert max(written_in.values()) <= LINGERERS_A_TURN


async def test_who_has_joined_hears_of_the_list_with_the_next_frame_and_others_at_once() -> None:
    hub, here = Hub(), "01a204ff-b87e-7596-8aa3-a61245b618c3"
    transports = {"joined": Transport(), "elsewhere": Transport()}
    for name, transport in transports.items():
        connection = ConnectionInfo(
            name, outbox_of(transport), user=UserRef("u1", "u1"), authenticated=True
        )
        if name == "joined":
            connection.joined[here] = 0
        hub.add(connection)
    line = publication("user", "u1", {"type": "conversation_updated"})
    hub.deliver_line(line, here)
    await end_of_turn()
    assert transports["elsewhere"].writes == [frames(line.text)]
    assert transports["joined"].writes == []
    hub.connections["joined"].outbox.put("a message")
    await end_of_turn()
    assert transports["joined"].writes == [frames(line.text, "a message")]

"""A room of a hundred on the recommended server, which messages reach in rounds."""

from __future__ import annotations

import asyncio

import pytest

from connections.rounds import VISITS_A_TURN
from tests.conftest import SHARED_SERVER_SETTINGS
from tests.frames.conftest import SETTINGS, of_type, sequences

# More than are written to in one turn of the loop.
READERS = VISITS_A_TURN + 36
WRITERS, PER_WRITER = 4, 50
TOTAL = WRITERS * PER_WRITER


@pytest.fixture(scope="module")
def large_node(start_server):
    server = start_server(kind="ovara", **SHARED_SERVER_SETTINGS | SETTINGS)
    yield server
    server.kill()


@pytest.fixture
async def talk(large_node, new_talk):
    return await new_talk(large_node)


async def write_all(talk, client, name):
    """All of one writer's messages, none of which waits for the one before it."""
    for number in range(PER_WRITER):
        await client.send(talk.request("typing", is_typing=number % 10 == 5))
        message_id = f"{name}-{number}"
        message = talk.request("message", content="text", client_message_id=message_id)
        await client.send({"id": message_id} | message)


def stored(client):
    """The sequences of what a connection heard of, its own messages by their acks, in order."""
    return [
        frame["message"]["sequence"]
        for frame in of_type(client, "message", "ack")
        if "message" in frame
    ]


def told(client):
    """The sequences of what came live, and with the answer to a `join`, in order."""
    found = []
    for frame in of_type(client, "message", "ack"):
        found += sequences(frame.get("messages", [frame] if frame["type"] == "message" else []))
    return found


async def test_everybody_hears_everything_once_and_in_order_whoever_writes_and_comes(talk):
    readers = await talk.many(talk.bob, READERS)
    writers = await talk.many(talk.alice, WRITERS)
    comes_again = readers.pop()

    async def come_and_go():
        """Nothing is missed and nothing comes twice: the answers and what came live together."""
        while not told(comes_again) or told(comes_again)[-1] < TOTAL:
            await comes_again.join(talk.id, since=max(told(comes_again), default=0))
            await comes_again.barrier()
            await comes_again.request(talk.request("leave"))

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(come_and_go())
        for number, writer in enumerate(writers):
            group.create_task(write_all(talk, writer, f"w{number}"))
        for reader in readers:
            group.create_task(reader.expect("message", timeout=60))
    for client in readers + writers:
        async with asyncio.timeout(60):
            while len(stored(client)) < TOTAL:
                await client.barrier()
        assert stored(client) == list(range(1, TOTAL + 1))
    assert told(comes_again) == list(range(1, TOTAL + 1))

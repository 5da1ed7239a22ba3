"""Many at once: whoever joins while messages pour in sees each of them once, in order."""

from __future__ import annotations

import asyncio
import random

from tests.frames.conftest import of_type, sequences

WRITERS, PER_WRITER = 5, 60
TOTAL = WRITERS * PER_WRITER
JOINERS = 24


async def follow(talk, client, since):
    """Join in the middle of it; every message from `since` on, in the order in which they came."""
    ack = await client.join(talk.id, **({} if since is None else {"since": since}))
    seen = [] if since is None else list(ack["messages"])
    if since is not None:
        assert ack["recovered"] is True
        while seen[-1:] and seen[-1]["sequence"] < ack["sequence"]:
            last = seen[-1]["sequence"]
            page = await client.request(talk.request("history", after=last, limit=50))
            seen += [one for one in page["messages"] if one["sequence"] <= ack["sequence"]]
    while not seen or seen[-1]["sequence"] < TOTAL:
        if not seen and ack["sequence"] == TOTAL:
            break
        seen.append((await client.expect("message", timeout=30))["message"])
    return ack["sequence"], sequences(seen)


def check_first_frames(client, conversation_id):
    """Nothing of the conversation came before the first answer."""
    kinds = [
        frame["type"]
        for frame in client.received
        if frame["type"] == "ack"
        or (
            frame.get("conversation_id") == conversation_id
            and not frame["type"].startswith("conversation_")
        )
    ]
    assert kinds[0] == "ack"


async def test_who_joins_while_messages_pour_in_sees_each_once_in_order(talk):
    writers = [await talk.tab(account) for account in [talk.alice, talk.bob] * 3][:WRITERS]
    joiners = [await talk.tab(talk.bob if n % 2 else talk.alice) for n in range(JOINERS)]
    # Spread over the whole time of the writing: each has its turn when so much is written.
    turns = {number * TOTAL // JOINERS: asyncio.Event() for number in range(JOINERS)}
    turns[0].set()

    async def write_all(client):
        for number in range(PER_WRITER):
            stored = await client.message(talk.id, str(number))
            if turn := turns.get(stored["sequence"]):
                turn.set()

    async def join_later(number, client):
        written = number * TOTAL // JOINERS
        await turns[written].wait()
        since = None if number % 4 == 3 else random.randint(0, written)
        newest, seen = await follow(talk, client, since)
        first = newest if since is None else since
        assert seen == list(range(first + 1, TOTAL + 1))
        check_first_frames(client, talk.id)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(write_all(writer))
        for number, joiner in enumerate(joiners):
            group.create_task(join_later(number, joiner))


async def test_who_joins_again_and_again_loses_and_repeats_nothing(talk):
    writer, reader = await talk.tab(talk.alice), await talk.tab(talk.bob)
    total, seen = 120, []

    async def write_all():
        for number in range(total):
            await writer.message(talk.id, str(number))

    async def join_again():
        while not seen or seen[-1] < total:
            await reader.join(talk.id, since=seen[-1] if seen else 0)
            # In the order in which they came: the answers' and the live ones.
            seen[:] = [sequence for frame in reader.received for sequence in carried(frame)]

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(write_all())
        group.create_task(join_again())
    # A join asks from the newest that was seen when it was sent: what came meanwhile may come
    # twice, but nothing may be missing at any moment, nor come before what it follows.
    newest = 0
    for sequence in seen:
        assert sequence <= newest + 1
        newest = max(newest, sequence)
    assert newest == total
    live = sequences(of_type(reader, "message"))
    assert live == sorted(set(live))


def carried(frame):
    if frame["type"] == "message":
        return [frame["message"]["sequence"]]
    return sequences(frame.get("messages", [])) if frame["type"] == "ack" else []


async def test_frames_and_own_acks_come_in_rising_sequence_on_every_connection(talk):
    """Twelve connections that all write and listen, each with many requests under way."""
    clients = await talk.many(talk.alice, 6) + await talk.many(talk.bob, 6)

    async def burst(client):
        for number in range(20):
            frame = talk.request("message", content="x", client_message_id=f"{number}-{id(client)}")
            await client.send(frame)
        # Of one conversation, in order: when this is answered, so are they.
        await client.request(talk.request("history", limit=1), timeout=30)

    await asyncio.gather(*(burst(client) for client in clients))
    total = 20 * len(clients)
    for client in clients:
        await client.barrier()
        came = [
            frame["message"]["sequence"]
            for frame in client.received
            if frame["type"] == "message" or (frame["type"] == "ack" and "message" in frame)
        ]
        assert came == list(range(1, total + 1))
        assert len(of_type(client, "message")) == total - 20

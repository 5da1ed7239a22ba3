"""`read`: a position that only moves forward, and the unread counts that follow from it."""

from __future__ import annotations

import asyncio

from tests.frames.conftest import of_type


async def test_the_position_moves_forward_and_never_past_the_newest(talk):
    alice, bob = await talk.joined(talk.alice), await talk.tab(talk.bob)
    await talk.fill(alice, 5)
    for asked, position in ((0, 0), (2, 2), (1, 2), (0, 2), (2, 2), (4, 4), (2**53 - 1, 5), (9, 5)):
        ack = await bob.request(talk.request("read", sequence=asked))
        assert ack == {"type": "ack", "id": ack["id"], "sequence": position}
    assert [one["sequence"] for one in of_type(alice, "read")] == [2, 4, 5]


async def test_read_is_told_to_all_but_the_connection_that_said_it(talk):
    alice, tab, bob = [await talk.joined(account) for account in (talk.alice, talk.alice, talk.bob)]
    stranger = await talk.tab(talk.bob)
    await talk.fill(bob, 3)
    await alice.request(talk.request("read", sequence=2))
    expected = {
        "type": "read",
        "conversation_id": talk.id,
        "user": talk.alice.as_json,
        "sequence": 2,
    }
    for client in (tab, bob):
        assert await client.expect("read") == expected
    # Told only when it moved.
    for sequence in (2, 1, 0):
        await alice.request(talk.request("read", sequence=sequence))
        await tab.request(talk.request("read", sequence=sequence))
    for client in (alice, tab, bob, stranger):
        assert await client.pending("read") == []


async def test_tabs_that_read_at_once_move_it_to_the_furthest(talk):
    tabs = await talk.many(talk.alice, 5)
    bob = await talk.joined(talk.bob)
    await talk.fill(bob, 30)
    await asyncio.gather(
        *(
            tabs[sequence % 5].request(talk.request("read", sequence=sequence))
            for sequence in range(1, 31)
        )
    )
    assert (await tabs[0].request(talk.request("read", sequence=0)))["sequence"] == 30
    await bob.barrier()
    told = [one["sequence"] for one in of_type(bob, "read")]
    assert len(told) == len(set(told))
    assert max(told) == 30


async def test_in_an_empty_conversation_there_is_nothing_to_read(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    assert (await alice.request(talk.request("read", sequence=7)))["sequence"] == 0
    await bob.message(talk.id, "one")
    assert (await alice.request(talk.request("read", sequence=0)))["sequence"] == 0
    assert await bob.pending("read") == []


async def test_unread_are_the_messages_of_others_above_the_position(talk):
    alice, bob = await talk.tab(talk.alice), await talk.tab(talk.bob)
    for number in range(6):
        await (alice if number % 2 else bob).message(talk.id, "x")

    async def unread(client, **fields):
        frame = await client.expect("conversation_updated", last_sequence=6, **fields)
        return frame["unread"]

    assert await unread(alice) == await unread(bob) == 3
    await alice.request(talk.request("read", sequence=3))
    assert await unread(alice, unread=1) == 1  # bob's fifth
    assert await unread(bob) == 3
    await alice.request(talk.request("read", sequence=4))  # her own
    assert await unread(alice) == 1
    await alice.request(talk.request("read", sequence=6))
    assert await unread(alice, unread=0) == 0
    answer = await talk.rest(talk.alice).get(f"/api/conversations/{talk.id}")
    positions = {
        one["user"]["username"]: one["last_read_sequence"] for one in answer.json()["participants"]
    }
    assert positions == {talk.alice.username: 6, talk.bob.username: 0}

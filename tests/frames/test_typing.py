"""`typing`: to the others, not stored, and never for ever."""

from __future__ import annotations

import asyncio
import time

from tests.frames.conftest import of_type

TYPING_SECONDS = 5.0


def said(client):
    """What a connection heard of typing, in order: (username, is_typing)."""
    return [(one["user"]["username"], one["is_typing"]) for one in of_type(client, "typing")]


async def test_typing_goes_to_the_other_joined_connections(talk):
    alice, tab, bob = [await talk.joined(account) for account in (talk.alice, talk.alice, talk.bob)]
    stranger = await talk.tab(talk.bob)
    for is_typing in (True, False):
        ack = await alice.request(talk.request("typing", is_typing=is_typing))
        assert ack == {"type": "ack", "id": ack["id"]}
    for other in (bob, tab):
        await other.barrier()
        assert of_type(other, "typing") == [
            {
                "type": "typing",
                "conversation_id": talk.id,
                "user": talk.alice.as_json,
                "is_typing": is_typing,
            }
            for is_typing in (True, False)
        ]
    for client in (alice, stranger):
        await client.barrier()
        assert said(client) == []


async def test_typing_ends_by_itself_after_five_seconds(talk, new_talk, node):
    """Three at once: one who falls silent, one who says it again, one who ends it herself."""
    silent, busy, ended = talk, await new_talk(node), await new_talk(node)
    hearing = []
    typing = []
    for one in (silent, busy, ended):
        typing.append(await one.joined(one.alice))
        hearing.append(await one.joined(one.bob))
    name = [one.alice.username for one in (silent, busy, ended)]

    async def falls_silent():
        started = time.monotonic()
        await typing[0].send(silent.request("typing", is_typing=True))
        await hearing[0].expect("typing", is_typing=False, timeout=TYPING_SECONDS + 2)
        took = time.monotonic() - started
        assert TYPING_SECONDS - 0.1 <= took <= TYPING_SECONDS + 1
        assert said(hearing[0]) == [(name[0], True), (name[0], False)]

    async def says_it_again():
        await typing[1].send(busy.request("typing", is_typing=True))
        await asyncio.sleep(TYPING_SECONDS / 2)
        await typing[1].send(busy.request("typing", is_typing=True))
        # Counted from the last time that it was said.
        await asyncio.sleep(TYPING_SECONDS / 2 + 1)
        await hearing[1].barrier()
        assert said(hearing[1]) == [(name[1], True)] * 2
        await hearing[1].expect("typing", is_typing=False, timeout=TYPING_SECONDS)

    async def ends_it():
        await typing[2].send(ended.request("typing", is_typing=True))
        await typing[2].send(ended.request("typing", is_typing=False))
        await hearing[2].expect("typing", is_typing=False)
        await asyncio.sleep(TYPING_SECONDS + 0.7)
        await hearing[2].barrier()
        assert said(hearing[2]) == [(name[2], True), (name[2], False)]

    await asyncio.gather(falls_silent(), says_it_again(), ends_it())
    # And once it has ended, it has.
    await hearing[0].barrier()
    assert len(said(hearing[0])) == 2


async def test_typing_ends_with_the_leave_and_with_the_connection(talk):
    bob = await talk.joined(talk.bob)

    async def leaves(client):
        await client.request(talk.request("leave"))

    async def closes(client):
        await client.close()

    async def is_cut(client):
        client.abort()

    for end in (leaves, closes, is_cut):
        alice = await talk.joined(talk.alice)
        await alice.request(talk.request("typing", is_typing=True))
        await bob.expect("typing", is_typing=True)
        await end(alice)
        # At once: not by the timer of five seconds.
        await bob.expect("typing", is_typing=False, user=talk.alice.as_json, timeout=4)
    assert await bob.pending("typing") == []


async def test_who_was_not_typing_does_not_stop(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await alice.request(talk.request("typing", is_typing=False))
    await alice.request(talk.request("leave"))
    await alice.close()
    assert await bob.pending("typing") == []


async def test_typing_is_of_one_conversation(talk, new_talk, node):
    other = await new_talk(node, talk.alice)
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await alice.join(other.id)
    elsewhere = await other.joined(other.bob)
    await alice.request(other.request("typing", is_typing=True))
    await elsewhere.expect("typing", conversation_id=other.id)
    assert await bob.pending("typing") == []
    # Leaving the one does not end it in the other.
    await alice.request(talk.request("leave"))
    assert await elsewhere.pending("typing") == []


async def test_typing_that_waits_for_its_join_does_not_undo_a_newer_one(talk):
    bob = await talk.joined(talk.bob)
    await talk.fill(bob, 50)
    alice = await talk.tab(talk.alice)
    await alice.send(talk.request("join") | {"id": "join"})
    for number in range(60):
        await alice.send(talk.request("history") | {"id": f"{number}"})
    await alice.send(talk.request("typing", is_typing=True) | {"id": "older"})
    await alice.expect("ack", id="join")
    # It is handled at once, whatever waits.
    assert (await alice.request(talk.request("typing", is_typing=False)))["type"] == "ack"
    await alice.expect("ack", id="older")
    await bob.barrier()
    assert said(bob)[-1:] != [(talk.alice.username, True)]

"""What participants hear of conversations, joined or not; and what a removal does at once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

from connections.conversation_feed import GATHER_SECONDS, USERS_A_TURN
from ovara.database import READER_THREADS, in_thread
from tests.conftest import GRACE_SECONDS
from tests.frames.conftest import NO_SUCH_ID, of_type, raw_texts, sequences
from tests.support.in_process import (
    FakeSocket,
    add,
    make_conversation,
    make_person,
    running_manager,
    until,
)

FEED = ("conversation_added", "conversation_updated", "conversation_removed")


async def test_a_new_conversation_is_told_to_all_connections_of_its_participants(
    node, connect, make_conversation
):
    alice, bob, carol = node.make_user(), node.make_user(), node.make_user()
    clients = [await connect(node, account) for account in (alice, bob, bob)]
    stranger = await connect(node, carol)
    conversation_id = await make_conversation(node, alice, bob, title="Plans")
    for client in clients:
        assert await client.expect("conversation_added") == {
            "type": "conversation_added",
            "conversation_id": conversation_id,
            "title": "Plans",
            "last_sequence": 0,
            "unread": 0,
        }
        assert await client.pending(*FEED) == []
    assert await stranger.pending(*FEED) == []


async def test_who_is_brought_in_later_hears_how_much_there_is_to_read(talk, node):
    carol = node.make_user()
    client, watcher = await talk.tab(carol), await talk.tab(talk.bob)
    await talk.fill(await talk.tab(talk.alice), 3)
    await watcher.expect("conversation_updated", last_sequence=3)
    rest = talk.rest(talk.alice)
    address = f"/api/conversations/{talk.id}/participants"
    for status in (201, 200):
        answer = await rest.post(address, json={"username": carol.username})
        assert answer.status_code == status
    added = await client.expect("conversation_added")
    assert (added["conversation_id"], added["last_sequence"], added["unread"]) == (talk.id, 3, 3)
    assert await client.pending("conversation_added") == []
    assert await watcher.pending("conversation_added", "conversation_removed") == []
    # And from now on it has a part.
    await client.join(talk.id)
    await client.message(talk.id, "hello")


async def test_a_new_title_is_told_to_everybody(talk):
    clients = [await talk.tab(talk.alice), await talk.joined(talk.bob)]
    answer = await talk.rest(talk.alice).patch(
        f"/api/conversations/{talk.id}", json={"title": "Another"}
    )
    assert answer.status_code == 200
    for client in clients:
        assert await client.expect("conversation_updated", title="Another") == {
            "type": "conversation_updated",
            "conversation_id": talk.id,
            "title": "Another",
            "last_sequence": 0,
            "unread": 0,
        }


async def test_updates_come_at_most_once_a_second_and_the_last_tells_the_truth(
    talk, new_talk, node
):
    other = await new_talk(node, talk.bob)
    alice, bob = await talk.tab(talk.alice), await talk.tab(talk.bob)
    loop = asyncio.get_running_loop()
    seen = []

    async def watch():
        while not seen or seen[-1][1]["last_sequence"] < 61:
            frame = await bob.expect("conversation_updated", conversation_id=talk.id, timeout=10)
            seen.append((loop.time(), frame))

    async def write():
        end = loop.time() + 2.2
        for number in itertools.count():
            if number >= 60 and loop.time() > end:
                break
            if number < 60:
                await alice.message(talk.id, f"{number}")
            await asyncio.sleep(2.2 / 60)
        await alice.message(talk.id, "the last")
        # Another conversation's updates do not wait for this one's.
        await (await other.tab(other.alice)).message(other.id, "x")
        await bob.expect("conversation_updated", conversation_id=other.id, timeout=0.8)

    async with asyncio.timeout(20):
        await asyncio.gather(watch(), write())
    moments = [moment for moment, _ in seen]
    assert len(seen) >= 3
    assert all(later - earlier > 0.8 for earlier, later in itertools.pairwise(moments))
    assert seen[-1][1]["last_sequence"] == seen[-1][1]["unread"] == 61
    assert [one["unread"] for _, one in seen] == sorted(one["unread"] for _, one in seen)


async def test_a_slow_database_does_not_bring_updates_together(transactional_db):
    async with running_manager() as manager:
        alice = await make_person()
        conversation_id = await make_conversation(alice)
        _, heard = await add(manager, alice)
        held_up = asyncio.gather(*(in_thread(time.sleep, 1.4) for _ in range(READER_THREADS)))
        for _ in range(2):
            manager.node.conversation_feed.changed(conversation_id)
            # Until the first is being read; what comes then is for the second.
            await asyncio.sleep(2 * GATHER_SECONDS)
        await held_up
        await until(lambda: heard.of_type("conversation_updated"))
        # The second is due by now, but the first has only just been told.
        await asyncio.sleep(0.5)
        assert len(heard.of_type("conversation_updated")) == 1
        await until(lambda: len(heard.of_type("conversation_updated")) == 2)


async def test_many_lines_leave_the_loop_to_others_in_between(transactional_db):
    turn, told = 0, []

    class Listener(FakeSocket):
        async def send_text(self, text):
            if '"conversation_updated"' in text:
                told.append(turn)

    async def count_turns():
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async with running_manager() as manager:
        alice = await make_person()
        ids = [await make_conversation(alice) for _ in range(3 * USERS_A_TURN)]
        await add(manager, alice, Listener())
        counting = asyncio.create_task(count_turns())
        for conversation_id in ids:
            manager.node.conversation_feed.changed(conversation_id)
        await until(lambda: len(told) == len(ids))
        counting.cancel()
    assert max(Counter(told).values()) <= USERS_A_TURN


async def test_whoever_is_removed_is_out_at_once(talk):
    alice = await talk.joined(talk.alice)
    joined, tab = await talk.joined(talk.bob), await talk.tab(talk.bob)
    await alice.expect("user_joined")
    await joined.request(talk.request("typing", is_typing=True))
    answer = await talk.rest(talk.alice).delete(
        f"/api/conversations/{talk.id}/participants/{talk.bob.username}"
    )
    assert answer.status_code == 204
    # The others see them go, at once and not after the grace.
    await alice.expect("user_left", user=talk.bob.as_json, timeout=0.8 * GRACE_SECONDS)
    # From here on nothing of the conversation reaches them.
    mark = len(joined.received)
    await alice.message(talk.id, "between ourselves")
    await alice.request(talk.request("typing", is_typing=True))
    await alice.request(talk.request("read", sequence=1))
    for client in (joined, tab):
        assert await client.expect("conversation_removed") == {
            "type": "conversation_removed",
            "conversation_id": talk.id,
            "title": "Talk",
            "last_sequence": client_sequence(client),
            "unread": 0,
        }
    await asyncio.sleep(GRACE_SECONDS)
    await joined.barrier()
    after = {frame["type"] for frame in joined.received[mark:]}
    assert after - {"conversation_removed"} == {"pong"}
    # The others see them no longer typing.
    assert [one["is_typing"] for one in of_type(alice, "typing")] == [True, False]
    present = await alice.request(talk.request("presence"))
    assert [one["user"] for one in present["users"]] == [talk.alice.as_json]
    # And whatever they ask, it is as if it were not there.
    for kind, fields in (
        ("join", {}),
        ("join", {"since": 0}),
        ("leave", {}),
        ("message", {"content": "x", "client_message_id": "c"}),
        ("typing", {"is_typing": True}),
        ("read", {"sequence": 1}),
        ("history", {}),
        ("presence", {}),
    ):
        for client in (joined, tab):
            assert (await client.request(talk.request(kind, **fields)))["code"] == "not_found"
        texts = await raw_texts(
            talk.server,
            talk.bob,
            [
                {"type": kind, "id": "r", "conversation_id": one} | fields
                for one in (talk.id, NO_SUCH_ID)
            ],
        )
        assert texts[0] == texts[1]


def client_sequence(client):
    """What the removal said: the message that came at the same moment may be in it, or not."""
    (frame,) = of_type(client, "conversation_removed")
    assert frame["last_sequence"] in {0, 1}
    return frame["last_sequence"]


async def test_a_member_that_leaves_the_conversation_hears_it_in_every_tab(talk):
    tabs = [await talk.joined(talk.bob), await talk.tab(talk.bob)]
    answer = await talk.rest(talk.bob).delete(
        f"/api/conversations/{talk.id}/participants/{talk.bob.username}"
    )
    assert answer.status_code == 204
    for client in tabs:
        await client.expect("conversation_removed", conversation_id=talk.id)
    # Brought in again, they are no stranger: history and position were not theirs alone.
    await talk.rest(talk.alice).post(
        f"/api/conversations/{talk.id}/participants", json={"username": talk.bob.username}
    )
    for client in tabs:
        await client.expect("conversation_added", conversation_id=talk.id)
    assert (await tabs[0].join(talk.id, since=0))["recovered"] is True


async def test_a_join_under_way_does_not_outlive_the_part(talk):
    """The removal comes while joins are being looked up, again and again."""
    alice = await talk.joined(talk.alice)
    bob = await talk.tab(talk.bob)
    address = f"/api/conversations/{talk.id}/participants"
    rest = talk.rest(talk.alice)
    for number in range(6):
        joins = [
            bob.request(talk.request("join", since=0) | {"id": f"{number} {n}"}) for n in range(8)
        ]
        answers, removed = await asyncio.gather(
            asyncio.gather(*joins), rest.delete(f"{address}/{talk.bob.username}")
        )
        assert removed.status_code == 204
        assert {one.get("code") for one in answers} <= {None, "not_found"}
        await bob.barrier()
        mark = len(bob.received)
        await alice.message(talk.id, "between ourselves")
        await bob.barrier()
        assert [one["type"] for one in bob.received[mark:] if one["type"] == "message"] == []
        assert (await bob.request(talk.request("presence")))["code"] == "not_found"
        await rest.post(address, json={"username": talk.bob.username})
    page = await alice.request(talk.request("history"))
    assert sequences(page["messages"]) == list(range(1, 7))

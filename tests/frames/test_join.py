"""`join` and `leave`: what the answer says, and what comes live behind it."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import GRACE_SECONDS
from tests.frames.conftest import NO_SUCH_ID, of_type, sequences

RECOVERY_LIMIT = 200
ONE_MIB = 1_048_576


async def test_a_join_is_answered_with_where_the_conversation_is(talk):
    alice = await talk.tab(talk.alice)
    await talk.fill(alice, 2)
    ack = await alice.request(talk.request("join"))
    assert set(ack) == {"type", "id", "conversation_id", "sequence", "epoch", "presence"}
    assert (ack["type"], ack["conversation_id"], ack["sequence"]) == ("ack", talk.id, 2)
    assert 1 <= len(ack["epoch"]) <= 64
    (present,) = ack["presence"]
    assert present["user"] == talk.alice.as_json


async def test_after_the_join_messages_come_live_and_after_leave_none(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    stored = await alice.message(talk.id, "one")
    assert await bob.expect("message") == {
        "type": "message",
        "conversation_id": talk.id,
        "message": stored,
    }
    ack = await bob.request(talk.request("leave"))
    assert ack == {"type": "ack", "id": ack["id"]}
    await alice.message(talk.id, "two")
    await alice.send(talk.request("typing", is_typing=True))
    await alice.barrier()
    assert await bob.pending("message", "typing") == []


async def test_a_leave_of_what_was_not_joined_is_acknowledged(talk):
    alice = await talk.tab(talk.alice)
    for _ in range(2):
        assert (await alice.request(talk.request("leave")))["type"] == "ack"


@pytest.mark.parametrize("since", [0, 1, 4, 5])
async def test_since_brings_exactly_what_came_after_it(talk, since):
    alice = await talk.tab(talk.alice)
    await talk.fill(alice, 5)
    ack = await alice.join(talk.id, since=since)
    assert (ack["recovered"], ack["has_more"], ack["sequence"]) == (True, False, 5)
    assert sequences(ack["messages"]) == list(range(since + 1, 6))
    assert [message["content"] for message in ack["messages"]] == [
        f"message {number}" for number in range(since + 1, 6)
    ]
    # The same with the epoch that the conversation still has, but for when people were seen.
    again = await alice.join(talk.id, since=since, epoch=ack["epoch"])
    assert again == ack | {"id": again["id"], "presence": again["presence"]}


@pytest.mark.parametrize("count", [RECOVERY_LIMIT, RECOVERY_LIMIT + 1])
async def test_the_answer_brings_the_first_200_and_history_the_rest(talk, count):
    alice = await talk.tab(talk.alice)
    await talk.fill(alice, count)
    ack = await alice.join(talk.id, since=0)
    assert ack["recovered"] is True
    assert ack["has_more"] is (count > RECOVERY_LIMIT)
    assert ack["sequence"] == count
    assert sequences(ack["messages"]) == list(range(1, RECOVERY_LIMIT + 1))
    rest = await alice.request(talk.request("history", after=RECOVERY_LIMIT))
    assert sequences(rest["messages"]) == list(range(RECOVERY_LIMIT + 1, count + 1))


async def test_an_answer_ends_early_at_one_mib(talk):
    alice = await talk.tab(talk.alice)
    # Eight of them are a little over 1 MiB.
    await talk.fill(alice, 12, content="\U0001f600" * 32_700)
    answers = [
        await alice.join(talk.id, since=0),
        await alice.request(talk.request("history", after=0)),
    ]
    for answer in answers:
        assert answer["has_more"] is True
        assert answer.get("recovered", True) is True
        assert sequences(answer["messages"]) == list(range(1, 8))
    # Backwards it is the newest that fit.
    newest = await alice.request(talk.request("history"))
    assert newest["has_more"] is True
    assert sequences(newest["messages"]) == list(range(6, 13))
    rest = await alice.request(talk.request("history", after=7))
    assert (sequences(rest["messages"]), rest["has_more"]) == ([8, 9, 10, 11, 12], False)


async def test_one_message_is_answered_however_large_it_is(talk):
    alice = await talk.tab(talk.alice)
    # Escaped, this is the largest that a message can be.
    await alice.message(talk.id, "\x01" * 32_768)
    ack = await alice.join(talk.id, since=0)
    assert sequences(ack["messages"]) == [1]
    assert ack["has_more"] is False


@pytest.mark.parametrize(
    "fields",
    [{"since": 4}, {"since": 2**53 - 1}, {"since": 3, "epoch": "x"}, {"since": 0, "epoch": "x"}],
)
async def test_where_sequences_are_not_comparable_the_client_starts_anew(talk, fields):
    alice, bob = await talk.tab(talk.alice), await talk.tab(talk.bob)
    await talk.fill(alice, 3)
    ack = await bob.join(talk.id, **fields)
    assert (ack["recovered"], ack["messages"], ack["has_more"]) == (False, [], False)
    assert ack["sequence"] == 3
    # It has joined all the same.
    await alice.message(talk.id, "four")
    assert (await bob.expect("message"))["message"]["sequence"] == 4


async def test_an_epoch_alone_asks_for_nothing(talk):
    alice = await talk.tab(talk.alice)
    ack = await alice.join(talk.id, epoch="another")
    assert not {"recovered", "messages", "has_more"} & set(ack)


async def test_joining_again_answers_anew_and_announces_nothing(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await alice.expect("user_joined", user=talk.bob.as_json)
    await alice.message(talk.id, "one")
    ack = await bob.join(talk.id, since=0)
    assert (ack["sequence"], sequences(ack["messages"])) == (1, [1])
    assert [one["connections"] for one in ack["presence"]] == [1, 1]
    assert await alice.pending("user_joined", "user_left", "presence") == []
    # And it is joined once: what comes live comes once.
    await alice.message(talk.id, "two")
    await bob.barrier()
    assert sequences(await bob.pending("message")) == [1, 2]


async def test_what_the_answer_brought_does_not_come_live_too(talk):
    alice, bob = await talk.joined(talk.alice), await talk.tab(talk.bob)
    for _ in range(20):
        await alice.send(talk.request("message", content="x", client_message_id=str(_)))
    ack = await bob.join(talk.id, since=0)
    await alice.message(talk.id, "last")
    live = [one["message"] for one in await bob.pending("message")]
    assert sequences(ack["messages"] + live) == list(range(1, 22))


async def test_a_connection_that_ends_while_it_joins_leaves_nothing_behind(talk):
    watcher = await talk.joined(talk.alice)
    for _ in range(15):
        leaver = await talk.tab(talk.bob)
        for _ in range(3):
            await leaver.send(talk.request("join"))
        leaver.abort()
        # Deliveries meanwhile are not disturbed.
        await watcher.message(talk.id, "hello")
    observer = await talk.joined(talk.alice)
    await asyncio.sleep(GRACE_SECONDS + 0.2)
    answer = await observer.request(talk.request("presence"))
    assert [one["user"] for one in answer["users"]] == [talk.alice.as_json]
    said = [(one["type"], one["user"]) for one in of_type(watcher, "user_joined", "user_left")]
    assert [kind for kind, _ in said] == ["user_joined", "user_left"] * (len(said) // 2)
    logs = talk.server.logs()
    assert "KeyError" not in logs
    assert "handler_failed" not in logs


async def test_a_connection_joins_as_many_as_it_may(limited_node, new_talk):
    alice = limited_node.make_user()
    talks = [await new_talk(limited_node, alice) for _ in range(4)]
    client = await talks[0].tab(alice)
    # At once, so that several are under way when the next is looked at.
    answers = await asyncio.gather(*(client.request(talk.request("join")) for talk in talks))
    assert sorted(answer["type"] for answer in answers) == ["ack", "ack", "error", "error"]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert {answer["code"] for answer in refused} == {"forbidden"}
    joined, out = [], []
    for talk, answer in zip(talks, answers, strict=True):
        (joined if answer["type"] == "ack" else out).append(talk)
    # What it has joined it may join again, and not_found comes before forbidden.
    assert (await client.request(joined[0].request("join")))["type"] == "ack"
    unknown = await client.request({"type": "join", "conversation_id": NO_SUCH_ID})
    assert unknown["code"] == "not_found"
    await client.request(joined[0].request("leave"))
    assert (await client.request(out[0].request("join")))["type"] == "ack"
    assert (await client.request(joined[0].request("join")))["code"] == "forbidden"

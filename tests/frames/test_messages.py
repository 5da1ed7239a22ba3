"""`message`: stored once, acknowledged when durable, broadcast to everybody else."""

from __future__ import annotations

import asyncio
import re

from sessions_app.models import Message
from tests.frames.conftest import NO_SUCH_ID, of_type, sequences

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_message_has_every_field(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    frame = talk.request("message", content="hello", client_message_id="c1", metadata={"a": [1]})
    ack = await alice.request(frame | {"id": "r1"})
    assert set(ack) == {"type", "id", "message"}
    assert ack["id"] == "r1"
    message = ack["message"]
    assert message == {
        "id": message["id"],
        "conversation_id": talk.id,
        "sequence": 1,
        "role": "user",
        "sender": talk.alice.as_json,
        "content": "hello",
        "metadata": {"a": [1]},
        "client_message_id": "c1",
        "status": "complete",
        "created_at": message["created_at"],
    }
    assert TIME.fullmatch(message["created_at"])
    assert (await bob.expect("message"))["message"] == message
    page = await bob.request(talk.request("history"))
    assert page["messages"] == [message]


async def test_a_message_without_metadata_has_an_empty_object(talk):
    alice = await talk.tab(talk.alice)
    for number, metadata in enumerate([{}, {"metadata": None}, {"metadata": {}}]):
        stored = await alice.message(talk.id, "x", client_message_id=f"{number}", **metadata)
        assert stored["metadata"] == {}


async def test_only_the_connection_that_sent_it_gets_no_frame(talk):
    alice, other_tab, bob = [
        await talk.joined(account) for account in (talk.alice, talk.alice, talk.bob)
    ]
    stranger = await talk.tab(talk.bob)
    await alice.message(talk.id, "hello")
    for client, count in ((alice, 0), (other_tab, 1), (bob, 1), (stranger, 0)):
        assert len(await client.pending("message")) == count


async def test_a_message_needs_a_part_but_no_join(talk):
    alice, bob = await talk.tab(talk.alice), await talk.joined(talk.bob)
    stored = await alice.message(talk.id, "hello")
    assert (await bob.expect("message"))["message"] == stored


async def test_an_acknowledged_message_is_committed(talk):
    alice = await talk.tab(talk.alice)
    for number in range(10):
        stored = await alice.message(talk.id, f"{number}")
        # Another connection to the database sees what is committed, and nothing else.
        contents = talk.server.database.run(
            lambda alias, pk=stored["id"]: list(
                Message.objects.using(alias).filter(pk=pk).values_list("content", flat=True)
            )
        )
        assert contents == [f"{number}"]


async def test_a_repeat_gets_the_first_message_and_is_broadcast_to_nobody(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    first = await alice.request(talk.request("message", content="one", client_message_id="c1"))
    assert "duplicate" not in first
    for content, metadata in (("one", {}), ("something else", {"new": True})):
        again = await alice.request(
            talk.request("message", content=content, metadata=metadata, client_message_id="c1")
        )
        assert again == first | {"id": again["id"], "duplicate": True}
    # On another connection of the same user, joined or not.
    other = await talk.tab(talk.alice)
    ack = await other.request(talk.request("message", content="x", client_message_id="c1"))
    assert (ack["duplicate"], ack["message"]) == (True, first["message"])
    await alice.message(talk.id, "two")
    await bob.expect("message", message=first["message"])
    assert sequences(await bob.pending("message")) == [2]


async def test_repeats_at_the_same_moment_are_stored_once(talk):
    clients = await talk.many(talk.alice, 8)
    bob = await talk.joined(talk.bob)
    for round_ in range(10):
        frame = talk.request("message", client_message_id=f"c{round_}")
        # In one burst on each connection, and on all of them at once.
        answers = await asyncio.gather(
            *(
                client.request(frame | {"content": f"{round_} {number}"})
                for number, client in enumerate(clients * 3)
            )
        )
        assert len({answer["message"]["id"] for answer in answers}) == 1
        assert [answer["message"]["sequence"] for answer in answers] == [round_ + 1] * 24
        assert sum("duplicate" not in answer for answer in answers) == 1
    await bob.barrier()
    assert sequences(await bob.pending("message")) == list(range(1, 11))
    # The other tabs heard of each once, by frame or by answer; the one that stored it, by answer.
    for client in clients:
        await client.barrier()
        heard = sequences(of_type(client, "message"))
        assert heard == sorted(set(heard))


async def test_a_client_message_id_is_one_users_in_one_conversation(talk, new_talk, node):
    alice, bob = await talk.tab(talk.alice), await talk.tab(talk.bob)
    other = await new_talk(node, talk.alice)
    stored = [
        await alice.message(talk.id, "alice's", client_message_id="c"),
        await bob.message(talk.id, "bob's", client_message_id="c"),
        await alice.message(other.id, "elsewhere", client_message_id="c"),
    ]
    assert len({one["id"] for one in stored}) == 3
    assert sequences(stored) == [1, 2, 1]
    # Compared for equality, nothing more.
    assert (await alice.message(talk.id, "x", client_message_id="C"))["sequence"] == 3
    assert (await alice.message(talk.id, "x", client_message_id="c "))["sequence"] == 4


async def test_a_repeat_by_rest_is_the_same_message(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    stored = await alice.message(talk.id, "by socket", client_message_id="c")
    body = {"content": "by REST", "client_message_id": "c"}
    answer = await talk.rest(talk.alice).post(f"/api/conversations/{talk.id}/messages", json=body)
    assert (answer.status_code, answer.json()) == (200, stored)
    body = {"content": "by REST", "client_message_id": "d", "metadata": {"a": 1}}
    answer = await talk.rest(talk.alice).post(f"/api/conversations/{talk.id}/messages", json=body)
    assert answer.status_code == 201
    ack = await alice.request(talk.request("message", content="x", client_message_id="d"))
    assert (ack["duplicate"], ack["message"]) == (True, answer.json())
    await bob.barrier()
    assert sequences(await bob.pending("message")) == [1, 2]


async def test_a_message_posted_by_rest_reaches_every_joined_socket(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    answer = await talk.rest(talk.alice).post(
        f"/api/conversations/{talk.id}/messages", json={"content": "by REST"}
    )
    assert answer.status_code == 201
    for client in (alice, bob):
        frame = await client.expect("message", conversation_id=talk.id)
        assert frame["message"] == answer.json()
        assert frame["message"]["client_message_id"]


async def test_texts_come_back_as_they_went(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    texts = [
        *(" ", "\n\t", "\x01\x7f", "e\u0301", "\u2028\u2029", "\ufeff", "\ufffe", "\u202e"),
        *("\\u0000", "\\", "\U00010000\U0001f468\u200d\U0001f469"),
        *("\U0001f600" * 32_768, "a" * 32_768, "</script>", "'; --", "\U0010ffff", '"\\'),
    ]
    for text in texts:
        metadata = {"text": text[:100], text[:10]: [text[:10]]}
        stored = await alice.message(talk.id, text, metadata=metadata)
        assert (stored["content"], stored["metadata"]) == (text, metadata)
        assert (await bob.expect("message"))["message"] == stored
    page = await bob.request(talk.request("history", before=len(texts) + 1))
    assert [one["content"] for one in page["messages"]] == texts[-len(page["messages"]) :]


async def test_numbers_in_metadata_come_back_as_they_went(talk):
    alice = await talk.tab(talk.alice)
    metadata = {
        "numbers": [0, -1, 2**53 - 1, 1 - 2**53, 0.1, 1e300, -2.5e-10],
        "others": [True, False, None, [], {}, ""],
    }
    stored = await alice.message(talk.id, "x", metadata=metadata)
    assert stored["metadata"] == metadata
    page = await alice.request(talk.request("history"))
    assert page["messages"][0]["metadata"] == metadata


async def test_nothing_is_stored_of_a_refused_message(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    refused = [
        {"content": ""},
        {"content": "x" * 32_769},
        {"content": "a\x00"},
        {"content": "\ud800"},
        {"content": 5},
        {"client_message_id": ""},
        {"client_message_id": "x" * 65},
        {"metadata": []},
        {"metadata": {"a": "x" * 16_384}},
        {"metadata": {"a": 2**53}},
        {"conversation_id": NO_SUCH_ID},
        {"conversation_id": talk.id.upper()},
    ]
    for fields in refused:
        answer = await alice.request(
            talk.request("message", content="x", client_message_id="c") | fields
        )
        assert answer["type"] == "error"
    assert (await alice.message(talk.id, "good", client_message_id="c"))["sequence"] == 1
    await bob.barrier()
    assert sequences(await bob.pending("message")) == [1]


async def test_writers_of_many_conversations_do_not_mix(new_talk, node):
    talks = [await new_talk(node) for _ in range(5)]

    async def write(talk, account):
        client = await talk.joined(account)
        for number in range(15):
            await client.message(talk.id, f"{account.username} {number}")
        return client

    clients = await asyncio.gather(
        *(write(talk, account) for talk in talks for account in (talk.alice, talk.bob))
    )
    for place, client in enumerate(clients):
        talk = talks[place // 2]
        page = await client.request(talk.request("history", after=0))
        assert sequences(page["messages"]) == list(range(1, 31))
        for account in (talk.alice, talk.bob):
            own = [one["content"] for one in page["messages"] if one["sender"] == account.as_json]
            assert own == [f"{account.username} {number}" for number in range(15)]
        assert {one["conversation_id"] for one in of_type(client, "message")} <= {talk.id}

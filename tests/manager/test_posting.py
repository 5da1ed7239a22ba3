"""`post_message`, and the signal `message_appended`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from connections.manager import WebSocketManager
from ovara.accounts.models import User
from ovara.database import in_thread
from ovara.errors import Invalid, NotFound, TooLarge
from sessions_app.journal import journal
from sessions_app.models import Conversation, Message
from sessions_app.records import MessageRecord, UserRef
from sessions_app.signals import message_appended
from tests.support.in_process import add, make_conversation, make_person, until
from tests.support.stores import current_store


@pytest.fixture
def appended() -> Iterator[list[MessageRecord]]:
    """What `message_appended` told."""
    messages: list[MessageRecord] = []

    async def remember(message: MessageRecord, **_: Any) -> None:
        messages.append(message)

    message_appended.connect(remember)
    yield messages
    message_appended.disconnect(remember)


async def contents_of(conversation_id: str) -> list[tuple[int, str]]:
    rows = Message.objects.filter(conversation_id=conversation_id).order_by("sequence")
    return await in_thread(lambda: list(rows.values_list("sequence", "content")))


async def test_a_message_is_stored_and_reaches_who_has_joined(manager: WebSocketManager) -> None:
    alice, bob = await make_person(), await make_person()
    talk = await make_conversation(alice, bob)
    _, socket = await add(manager, bob, None, talk)
    message = await manager.post_message(talk, "hello", metadata={"model": "m"})

    assert await contents_of(talk) == [(1, "hello")]
    assert (message.sequence, message.role, message.sender) == (1, "assistant", None)
    assert socket.of_type("message") == [
        {
            "type": "message",
            "conversation_id": talk,
            "message": {
                "id": message.id,
                "conversation_id": talk,
                "sequence": 1,
                "role": "assistant",
                "sender": None,
                "content": "hello",
                "metadata": {"model": "m"},
                "client_message_id": message.client_message_id,
                "status": "complete",
                "created_at": message.created_at,
            },
        }
    ]


async def test_the_sender_may_be_a_user_an_id_or_a_reference(manager: WebSocketManager) -> None:
    alice = await make_person("alice")
    talk = await make_conversation(alice)
    for sender in (alice.user, alice.id, alice.user.pk, UserRef(alice.id, "alice")):
        message = await manager.post_message(talk, "hello", role="user", sender=sender)
        assert message.sender == UserRef(alice.id, "alice")
    rows = await in_thread(lambda: set(Message.objects.values_list("sender_id", flat=True)))
    assert rows == {alice.user.pk}


async def test_an_agents_account_needs_no_part_in_the_conversation(
    manager: WebSocketManager,
) -> None:
    agent, alice = await make_person("agent"), await make_person()
    talk = await make_conversation(alice)
    message = await manager.post_message(talk, "hello", sender=agent.user)
    assert message.sender == UserRef(agent.id, "agent")


@pytest.mark.parametrize("sender", ["nobody", "01a00000-0000-7000-8000-000000000000"])
async def test_an_unknown_sender_is_refused(manager: WebSocketManager, sender: str) -> None:
    talk = await make_conversation(await make_person())
    with pytest.raises(Invalid, match="sender"):
        await manager.post_message(talk, "hello", sender=sender)
    assert await contents_of(talk) == []


async def test_a_sender_who_is_gone_harms_nobody_elses_message(manager: WebSocketManager) -> None:
    alice, gone = await make_person(), await make_person()
    talk = await make_conversation(alice)
    await in_thread(User.objects.filter(pk=gone.user.pk).delete)
    results = await asyncio.gather(
        *(manager.post_message(talk, f"good {number}") for number in range(5)),
        manager.post_message(talk, "bad", sender=gone.user),
        *(manager.post_message(talk, f"good {number}") for number in range(5, 10)),
        return_exceptions=True,
    )
    assert isinstance(results.pop(5), Invalid)
    assert all(isinstance(result, MessageRecord) for result in results)
    assert await contents_of(talk) == [(number + 1, f"good {number}") for number in range(10)]


async def test_what_a_sender_who_is_gone_called_its_message_is_no_name_of_ours(
    manager: WebSocketManager,
) -> None:
    alice, gone = await make_person(), await make_person()
    talk = await make_conversation(alice)
    theirs = await manager.post_message(talk, "theirs", sender=gone.user, client_message_id="same")
    await in_thread(User.objects.filter(pk=gone.user.pk).delete)
    ours = await manager.post_message(talk, "ours", client_message_id="same")
    again = await manager.post_message(talk, "ours", client_message_id="same")
    assert theirs.id != ours.id == again.id
    assert await contents_of(talk) == [(1, "theirs"), (2, "ours")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"content": ""}, Invalid),
        ({"content": "x" * 32_769}, TooLarge),
        ({"content": "a\x00b"}, Invalid),
        ({"content": "\ud800"}, Invalid),
        ({"content": "x", "role": "robot"}, Invalid),
        ({"content": "x", "client_message_id": "i" * 65}, Invalid),
        ({"content": "x", "client_message_id": ""}, Invalid),
        ({"content": "x", "metadata": {"big": "x" * 17_000}}, TooLarge),
    ],
)
async def test_what_no_client_may_store_server_code_may_not_either(
    manager: WebSocketManager, arguments: dict[str, Any], error: type[Exception]
) -> None:
    talk = await make_conversation(await make_person())
    with pytest.raises(error):
        await manager.post_message(talk, **arguments)
    assert await contents_of(talk) == []


@pytest.mark.parametrize("unknown", ["01a205a1-2072-7672-af0c-80655485b2c7", "not an id", ""])
async def test_a_message_to_a_conversation_that_is_not_there_is_an_error(
    manager: WebSocketManager, unknown: str
) -> None:
    with pytest.raises(NotFound):
        await manager.post_message(unknown, "hello")


async def test_the_same_client_message_id_gets_the_first_message(
    manager: WebSocketManager, appended: list[MessageRecord]
) -> None:
    alice = await make_person()
    talk, other_talk = await make_conversation(alice), await make_conversation(alice)
    _, socket = await add(manager, alice, None, talk)
    first = await manager.post_message(talk, "first", client_message_id="one")
    again = await manager.post_message(talk, "second", client_message_id="one")
    assert again == first
    assert len(socket.of_type("message")) == 1
    # Another sender's and another conversation's are others.
    await manager.post_message(talk, "third", client_message_id="one", sender=alice.user)
    await manager.post_message(other_talk, "fourth", client_message_id="one")
    assert await contents_of(talk) == [(1, "first"), (2, "third")]
    await until(lambda: len(appended) == 3)


async def test_messages_posted_at_once_come_in_the_order_of_their_sequences(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    _, socket = await add(manager, alice, None, talk)
    messages = await asyncio.gather(
        *(manager.post_message(talk, f"number {number}") for number in range(100))
    )
    assert sorted(message.sequence for message in messages) == list(range(1, 101))
    live = [frame["message"]["sequence"] for frame in socket.of_type("message")]
    assert live == list(range(1, 101))


async def test_a_message_is_delivered_though_its_caller_lost_patience(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    _, socket = await add(manager, alice, None, talk)
    # Somebody else writes meanwhile, so the journal has to wait.
    with current_store().write_lock(str(connection.settings_dict["NAME"])):
        posting = asyncio.create_task(manager.post_message(talk, "hello"))
        await until(lambda: len(journal) > 0)
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posting
    await until(lambda: socket.of_type("message"))
    assert await contents_of(talk) == [(1, "hello")]


async def test_the_other_participants_hear_of_it_in_their_lists(
    manager: WebSocketManager,
) -> None:
    alice, bob = await make_person(), await make_person()
    talk = await make_conversation(alice, bob)
    _, not_joined = await add(manager, bob)
    await manager.post_message(talk, "hello")
    await until(lambda: not_joined.of_type("conversation_updated"))
    assert not_joined.frames == [
        {
            "type": "conversation_updated",
            "conversation_id": talk,
            "title": "Talk",
            "last_sequence": 1,
            "unread": 1,
        }
    ]


async def test_a_coroutine_is_told_of_every_message_after_it_is_stored(
    manager: WebSocketManager, appended: list[MessageRecord]
) -> None:
    talk = await make_conversation(await make_person())
    message = await manager.post_message(talk, "hello")
    await until(lambda: appended)
    assert appended == [message]


async def test_a_plain_function_is_told_too_and_not_in_the_loops_thread(
    manager: WebSocketManager,
) -> None:
    threads: list[int] = []

    def remember(message: MessageRecord, **_: Any) -> None:
        threads.append(threading.get_ident())
        assert Message.objects.filter(pk=message.id).exists()

    message_appended.connect(remember)
    try:
        await manager.post_message(await make_conversation(await make_person()), "hello")
        await until(lambda: threads)
    finally:
        message_appended.disconnect(remember)
    assert threads != [threading.get_ident()]


async def test_a_receiver_that_fails_is_logged_and_the_others_are_told(
    manager: WebSocketManager,
    appended: list[MessageRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(message: MessageRecord, **_: Any) -> None:
        raise RuntimeError("the model is away")

    message_appended.connect(fails)
    try:
        await manager.post_message(await make_conversation(await make_person()), "hello")
        await until(lambda: "the model is away" in caplog.text)
    finally:
        message_appended.disconnect(fails)
    await until(lambda: appended)
    assert "hello" not in caplog.text


async def test_a_receiver_may_answer(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    _, socket = await add(manager, alice, None, talk)

    async def answer(message: MessageRecord, **_: Any) -> None:
        if message.role == "user":
            await manager.post_message(message.conversation_id, f"You said: {message.content}")

    message_appended.connect(answer)
    try:
        await manager.post_message(talk, "hello", role="user", sender=alice.user)
        await until(lambda: len(socket.of_type("message")) == 2)
    finally:
        message_appended.disconnect(answer)
    assert await contents_of(talk) == [(1, "hello"), (2, "You said: hello")]


async def test_a_message_moves_the_conversations_newest_sequence(
    manager: WebSocketManager,
) -> None:
    talk = await make_conversation(await make_person())
    for _ in range(3):
        await manager.post_message(talk, "hello")
    row = await in_thread(Conversation.objects.get, pk=talk)
    assert row.last_sequence == 3

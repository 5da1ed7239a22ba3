"""The journal: durable, in order, without gaps, whoever writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from connections.manager import WebSocketManager
from ovara.accounts.models import User
from ovara.database import in_thread
from ovara.errors import NotFound, Overloaded
from ovara.times import now
from sessions_app.batches import _MOVE_CACHE, Draft, write_batch
from sessions_app.journal import journal
from sessions_app.models import Conversation, Message
from sessions_app.records import UserRef, records_of
from sessions_app.services import conversation_create
from tests.support.database import Database
from tests.support.environment import ROOT, server_environment
from tests.support.in_process import add, make_conversation, make_person

THREADS, EACH = 8, 25
PROCESSES, EACH_PROCESS = 3, 40

WRITER = f"""
import django, sys
django.setup()
from concurrent.futures import ThreadPoolExecutor
from connections.manager import websocket_manager
name, conversation_id = sys.argv[1:]
def post(number):
    # Every message is sent twice, as by a client that lost its acknowledgement.
    for _ in range(2):
        websocket_manager.sync.post_message(
            conversation_id, f"{{name}} {{number}}", client_message_id=f"{{name}} {{number}}"
        )
with ThreadPoolExecutor(4) as pool:
    list(pool.map(post, range({EACH_PROCESS})))
"""


@pytest.fixture
def talk(transactional_db: None) -> Iterator[str]:
    """The id of a conversation; the journal's thread ends with the test."""
    owner = User.objects.create(username="owner")
    yield str(conversation_create(owner=owner).pk)
    journal.close()


def draft(conversation_id: str, name: str, sender: UserRef | None = None) -> Draft:
    return Draft(conversation_id, name, "user", sender, name, {}, require_participant=False)


def sequences(conversation_id: str) -> list[int]:
    rows = Message.objects.filter(conversation_id=conversation_id).order_by("sequence")
    return list(rows.values_list("sequence", flat=True))


def test_many_threads_leave_no_gap_and_no_double(talk: str) -> None:
    other = str(conversation_create(owner=User.objects.get()).pk)

    def write(thread: int) -> list[int]:
        results = []
        for number in range(EACH):
            for conversation_id in (talk, other):
                item = draft(conversation_id, f"{thread}-{number}")
                results.append(journal.submit(item).result(20).message.sequence)
        return results

    with ThreadPoolExecutor(THREADS) as pool:
        acknowledged = [result for results in pool.map(write, range(THREADS)) for result in results]
    assert sequences(talk) == sequences(other) == list(range(1, THREADS * EACH + 1))
    assert sorted(acknowledged) == sorted(2 * list(range(1, THREADS * EACH + 1)))
    assert set(Conversation.objects.values_list("last_sequence", flat=True)) == {THREADS * EACH}


def test_a_batch_takes_as_many_statements_as_a_single_message(talk: str) -> None:
    counts = []
    for batch in (["first"], ["a"], [f"{number}" for number in range(50)]):
        with CaptureQueriesContext(connection) as queries:
            write_batch([draft(talk, name) for name in batch])
        counts.append(len(queries))
    assert counts[1] == counts[2] <= 7, counts
    assert sequences(talk) == list(range(1, 53))


def test_each_thread_gets_rising_sequences(talk: str) -> None:
    def write(thread: int) -> list[int]:
        return [
            journal.submit(draft(talk, f"{thread}-{number}")).result(20).message.sequence
            for number in range(10)
        ]

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(write, range(4)):
            assert results == sorted(results)


def test_many_processes_leave_no_gap_and_no_double(
    database_template: Database, tmp_path: Path
) -> None:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    owner = database.make_user()
    conversation = Conversation(created_by=owner.user)
    database.run(lambda alias: conversation.save(using=alias))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, f"process-{number}", str(conversation.pk)],
            cwd=ROOT,
            env=server_environment(database.environment, {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors

    def stored(alias: str) -> tuple[list[tuple[int, str]], int]:
        rows = Message.objects.using(alias).order_by("sequence")
        last = Conversation.objects.using(alias).get().last_sequence
        return list(rows.values_list("sequence", "content")), last

    rows, last = database.run(stored)
    assert [sequence for sequence, _ in rows] == list(range(1, PROCESSES * EACH_PROCESS + 1))
    assert len({content for _, content in rows}) == PROCESSES * EACH_PROCESS
    assert last == PROCESSES * EACH_PROCESS


@pytest.mark.parametrize("has_sender", [True, False])
def test_a_repeat_gets_the_first_message_whatever_the_new_content(
    talk: str, has_sender: bool
) -> None:
    owner = User.objects.get()
    sender = UserRef(str(owner.pk), owner.username) if has_sender else None
    first = journal.submit(draft(talk, "one", sender)).result(5)
    item = Draft(talk, "other content", "user", sender, "one", {}, require_participant=False)
    again = journal.submit(item).result(5)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.message == first.message
    assert sequences(talk) == [1]


def test_repeats_within_one_batch_are_one_message(talk: str) -> None:
    futures = [journal.submit(draft(talk, name)) for name in ("a", "b", "a", "b", "a", "c")]
    results = [future.result(5) for future in futures]
    assert [result.message.content for result in results] == ["a", "b", "a", "b", "a", "c"]
    assert sum(not result.duplicate for result in results) == 3
    assert sequences(talk) == [1, 2, 3]


def test_the_same_client_message_id_of_two_senders_is_two_messages(talk: str) -> None:
    owner = User.objects.get()
    for sender in (None, UserRef(str(owner.pk), owner.username)):
        assert not journal.submit(draft(talk, "one", sender)).result(5).duplicate
    assert sequences(talk) == [1, 2]


def test_accounts_can_go_whose_client_message_ids_are_the_same(talk: str) -> None:
    people = [User.objects.create(username=f"person-{number}") for number in range(2)]
    for person in people:
        journal.submit(draft(talk, "1", UserRef(str(person.pk), person.username))).result(5)
    for person in people:
        person.delete()
    assert [record.sender for record in records_of(Message.objects.all())] == [None, None]
    # Server code's own is another's still.
    posted = journal.submit(draft(talk, "1")).result(5)
    assert (posted.duplicate, posted.message.sequence) == (False, 3)


@pytest.mark.parametrize("cached", [0, 1, 2])
def test_a_cache_behind_the_truth_is_healed(talk: str, cached: int) -> None:
    for name in ("a", "b", "c"):
        journal.submit(draft(talk, name)).result(5)
    Conversation.objects.filter(pk=talk).update(last_sequence=cached)
    assert journal.submit(draft(talk, "d")).result(5).message.sequence == 4
    assert sequences(talk) == [1, 2, 3, 4]
    assert Conversation.objects.get(pk=talk).last_sequence == 4


def test_a_repeat_too_heals_a_cache_behind_the_truth(talk: str) -> None:
    journal.submit(draft(talk, "a")).result(5)
    Conversation.objects.filter(pk=talk).update(last_sequence=0)
    assert journal.submit(draft(talk, "a")).result(5).duplicate
    assert Conversation.objects.get(pk=talk).last_sequence == 1


def test_a_writer_who_is_late_does_not_move_the_cache_back(talk: str) -> None:
    Conversation.objects.filter(pk=talk).update(last_sequence=7)
    _MOVE_CACHE.run([(uuid.UUID(talk), 6, now())])
    assert Conversation.objects.get(pk=talk).last_sequence == 7


def test_only_participants_may_send_where_that_is_asked_for(talk: str) -> None:
    stranger = User.objects.create(username="stranger")
    sender = UserRef(str(stranger.pk), "stranger")
    refused = journal.submit(Draft(talk, "x", "user", sender, "x"))
    taken = journal.submit(draft(talk, "y", sender))
    with pytest.raises(NotFound):
        refused.result(5)
    assert taken.result(5).message.sequence == 1


# A table that is not there is the database's fault on SQLite alone.
@pytest.mark.stores("sqlite")
async def test_a_lost_database_is_said_and_its_return_needs_nothing(
    manager: WebSocketManager,
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    _, socket = await add(manager, alice, None, talk)

    def rename(old: str, new: str) -> Callable[[], None]:
        def run() -> None:
            with connection.cursor() as cursor:
                cursor.execute(f'ALTER TABLE "{old}" RENAME TO "{new}"')

        return run

    await in_thread(rename("sessions_app_message", "hidden"))
    try:
        results = await asyncio.gather(
            *(manager.post_message(talk, "lost") for _ in range(3)), return_exceptions=True
        )
    finally:
        await in_thread(rename("hidden", "sessions_app_message"))
    for result in results:
        assert isinstance(result, Overloaded)
        assert str(result) == "The journal can't reach the database. Nothing was stored; try again."
    assert socket.of_type("message") == []
    assert (await manager.post_message(talk, "back")).sequence == 1
    assert [frame["message"]["content"] for frame in socket.of_type("message")] == ["back"]

"""The journal on each store: nodes that write at once, and one killed between two writes."""

from __future__ import annotations

import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from ovara.accounts.models import User
from ovara.errors import NotFound
from ovara.times import now
from sessions_app.batches import Draft, write_batch
from sessions_app.models import Conversation, Message
from sessions_app.records import UserRef
from sessions_app.services import conversation_create
from tests.stores.writers import BATCH, BATCHES, JOURNAL, side_by_side, start
from tests.support.database import Database

PROCESSES = 2

# Writes one message, is killed between the message and the counter: `CONVERSATION`.
KILLED = """
import django, os, signal, sys
django.setup()
from sessions_app import batches
batches._MOVE_CACHE.run = lambda rows: os.kill(os.getpid(), signal.SIGKILL)
names = [str(number) for number in range(5)]
drafts = [batches.Draft(sys.argv[1], "text", "user", None, name, {}, False) for name in names]
batches.write_batch(drafts)
"""


def new_conversations(database: Database, count: int) -> list[str]:
    rows = [Conversation() for _ in range(count)]
    database.run(lambda alias: Conversation.objects.using(alias).bulk_create(rows))
    return [str(row.pk) for row in rows]


def stored(database: Database) -> dict[str, dict[int, str]]:
    """Conversation id → sequence → client_message_id; each counter is checked on the way."""

    def read(alias: str) -> dict[str, dict[int, str]]:
        found: dict[str, dict[int, str]] = defaultdict(dict)
        for row in Message.objects.using(alias):
            found[str(row.conversation_id)][row.sequence] = row.client_message_id
        counters = Conversation.objects.using(alias).values_list("pk", "last_sequence")
        assert dict(counters) == {key: max(found[str(key)], default=0) for key, _ in counters}
        return found

    return database.run(read)


def test_two_nodes_in_the_same_conversations_leave_no_gap_and_call_nothing_a_repeat_that_is_none(
    database_template: Database, tmp_path: Path
) -> None:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    conversations = new_conversations(database, 3)
    told: list[list[Any]] = [
        one
        for printed in side_by_side(
            JOURNAL, database, [(f"node-{n}", *conversations) for n in range(PROCESSES)]
        )
        for one in printed
    ]
    found = stored(database)
    for conversation in conversations:
        assert sorted(found[conversation]) == list(range(1, PROCESSES * BATCHES * BATCH + 1))
    assert len(told) == 2 * PROCESSES * BATCHES * BATCH * len(conversations)
    for conversation, name, sequence, is_duplicate, is_repeat in told:
        assert found[conversation][sequence] == name
        assert is_duplicate == is_repeat


def test_what_a_killed_writer_left_is_whole_and_the_next_write_goes_on_behind_it(
    database_template: Database, tmp_path: Path
) -> None:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    [conversation] = new_conversations(database, 1)
    killed = start(KILLED, database, conversation)
    _, errors = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, errors
    left = database.run(lambda alias: Message.objects.using(alias).count())
    assert left in (0, 5)
    told = side_by_side(JOURNAL, database, [("next", conversation)])[0]
    assert [sequence for _, _, sequence, _, is_repeat in told if not is_repeat] == list(
        range(left + 1, left + BATCHES * BATCH + 1)
    )
    assert sorted(stored(database)[conversation]) == list(range(1, left + BATCHES * BATCH + 1))


@pytest.fixture
def talk(transactional_db: None) -> str:
    return str(conversation_create(owner=User.objects.create(username="owner")).pk)


def drafts_of(talk: str, count: int) -> list[Draft]:
    return [Draft(talk, "text", "user", None, f"{n}", {}, False) for n in range(count)]


def cut_off_after(talk: str, drafts: list[Draft], count: int) -> None:
    """What a batch leaves that got so far: ordered inserts, and no word of it to its writer."""
    for number, draft in enumerate(drafts[:count], start=1):
        Message.objects.create(
            id=draft.id,
            conversation_id=talk,
            sequence=number,
            content=draft.content,
            client_message_id=draft.client_message_id,
            created_at=now(),
        )


@pytest.mark.parametrize("written", range(1, 5))
def test_a_batch_that_goes_on_where_it_was_cut_off_has_no_repeats(talk: str, written: int) -> None:
    drafts = drafts_of(talk, 4)
    cut_off_after(talk, drafts, written)
    results: list[Any] = write_batch(drafts)
    assert [result.message.sequence for result in results] == [1, 2, 3, 4]
    assert [result.duplicate for result in results] == [False] * 4
    assert [result.message.id for result in results] == [draft.id for draft in drafts]
    assert Conversation.objects.get(pk=talk).last_sequence == 4


def test_a_client_that_sends_again_what_a_killed_node_wrote_gets_it_as_a_repeat(talk: str) -> None:
    cut_off_after(talk, drafts_of(talk, 2), 2)
    results: list[Any] = write_batch(drafts_of(talk, 3))
    assert [result.message.sequence for result in results] == [1, 2, 3]
    assert [result.duplicate for result in results] == [True, True, False]
    assert Conversation.objects.get(pk=talk).last_sequence == 3


@pytest.mark.stores("sqlite", "postgresql")  # MongoDB takes nothing back
def test_a_batch_that_fails_leaves_nothing_behind(
    talk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("in the midst of it")

    monkeypatch.setattr("sessions_app.batches._MOVE_CACHE.run", fail)
    with pytest.raises(RuntimeError, match="in the midst of it"):
        write_batch(drafts_of(talk, 2))
    assert not Message.objects.exists()


def test_a_batch_of_many_people_stores_what_each_may_say_and_nothing_else(db: None) -> None:
    """More conversations and people than one query is asked about."""
    people = User.objects.bulk_create(User(username=f"user {number}") for number in range(300))
    talks = [str(conversation_create(owner=one).pk) for one in people]
    senders = [UserRef(str(one.pk), one.username) for one in people]
    # Every tenth speaks in a conversation of somebody else.
    strangers = set(range(0, 300, 10))
    drafts = [
        Draft(
            talks[number - 1 if number in strangers else number],
            *(f"text {number}", "user", senders[number], "once"),
            {"number": number} if number % 2 else {},
        )
        for number in range(300)
    ]
    refused = {
        number for number, result in enumerate(write_batch(drafts)) if isinstance(result, NotFound)
    }
    assert refused == strangers
    told = {
        (str(row.conversation_id), str(row.sender_id), row.content, str(row.metadata))
        for row in Message.objects.all()
    }
    assert told == {
        (draft.conversation_id, senders[number].id, draft.content, str(draft.metadata))
        for number, draft in enumerate(drafts)
        if number not in strangers
    }

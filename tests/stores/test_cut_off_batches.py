"""MongoDB: the journal's batches are cut off at each place where they can be, and all stays right.

docs/adr/0030-writes-without-transactions.md says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ovara.accounts.models import User
from sessions_app.batches import Draft, write_batch
from sessions_app.models import Conversation, Message
from sessions_app.records import UserRef
from sessions_app.services import conversation_create
from tests.stores.cut import cut_off_after

pytestmark = [
    # The others take a batch back as a whole: test_journal.py.
    pytest.mark.stores("mongodb", "mongodb-standalone"),
    pytest.mark.django_db(transaction=True),
]

TALKS, EACH = 2, 2
# Messages, then the counters of their conversations.
WRITES = TALKS * EACH + TALKS

Written = list[tuple[str, str, int]]  # conversation id, client_message_id, sequence


class Talks:
    """Conversations of one person, and what was acknowledged in them."""

    def __init__(self) -> None:
        owner = User.objects.create(username="owner")
        self.sender = UserRef(str(owner.pk), owner.username)
        self.ids = [str(conversation_create(owner=owner).pk) for _ in range(TALKS)]
        self.acknowledged: Written = []

    def drafts(self, name: str) -> list[Draft]:
        """A batch as a client sends it, for the first time or again."""
        return [
            Draft(talk, "text", "user", self.sender, f"{name} {number}")
            for number in range(EACH)
            for talk in self.ids
        ]

    def write(self, name: str) -> list[Any]:
        """A batch that nothing cuts off."""
        results: list[Any] = write_batch(self.drafts(name))
        for appended in results:
            message = appended.message
            self.acknowledged.append(
                (message.conversation_id, message.client_message_id, message.sequence)
            )
        return results

    def check(self, *names: str) -> None:
        """Of each batch every message is stored once, and nothing else, and in no place but its
        own; the counters are where they belong."""
        found = list(
            Message.objects.order_by("sequence").values_list(
                "conversation_id", "client_message_id", "sequence"
            )
        )
        stored = [(str(talk), name, sequence) for talk, name, sequence in found]
        assert set(self.acknowledged) <= set(stored)
        for talk in self.ids:
            of_talk = [row for row in stored if row[0] == talk]
            assert [row[2] for row in of_talk] == list(range(1, len(names) * EACH + 1))
            assert sorted(row[1] for row in of_talk) == sorted(
                f"{name} {number}" for name in names for number in range(EACH)
            )
            assert Conversation.objects.get(pk=talk).last_sequence == len(of_talk)


def cut_off(talks: Talks, written: int) -> None:
    with cut_off_after(written):
        write_batch(talks.drafts("lost"))
    assert Message.objects.count() == TALKS * EACH + min(written, TALKS * EACH)


def another_first(talks: Talks) -> list[Any]:
    talks.write("another node's")
    return talks.write("lost")


def again_first(talks: Talks) -> list[Any]:
    results = talks.write("lost")
    talks.write("another node's")
    return results


@pytest.mark.parametrize("then", [another_first, again_first])
@pytest.mark.parametrize("written", range(WRITES + 1))
def test_wherever_a_batch_is_cut_off_there_is_no_gap_no_repeat_and_nothing_acknowledged_is_lost(
    written: int, then: Callable[[Talks], list[Any]]
) -> None:
    talks = Talks()
    talks.write("before")
    cut_off(talks, written)
    results = then(talks)
    talks.check("before", "lost", "another node's")
    # Whoever sends again hears of each message that was stored that it was.
    assert sum(result.duplicate for result in results) == min(written, TALKS * EACH)


def test_a_batch_that_is_cut_off_again_and_again_is_stored_once() -> None:
    talks = Talks()
    talks.write("before")
    for _ in range(TALKS * EACH):
        with cut_off_after(1):
            write_batch(talks.drafts("lost"))
    talks.write("lost")
    talks.check("before", "lost")


def test_a_counter_that_a_cut_left_behind_is_moved_by_the_next_batch_whoever_writes_it() -> None:
    talks = Talks()
    cut_off_before_the_counters = TALKS * EACH
    with cut_off_after(cut_off_before_the_counters):
        write_batch(talks.drafts("lost"))
    assert set(Conversation.objects.values_list("last_sequence", flat=True)) == {0}
    # A repeat writes no message, and yet mends what it finds.
    assert [result.duplicate for result in talks.write("lost")] == [True] * TALKS * EACH
    talks.check("lost")

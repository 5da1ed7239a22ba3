"""How much is unread, counted on from what was counted before."""

from __future__ import annotations

import random

import pytest
from django.db import connection

from ovara.accounts.models import User
from sessions_app import unread
from sessions_app.batches import Draft, write_batch
from sessions_app.models import Participant
from sessions_app.records import UserRef
from sessions_app.services import conversation_create
from tests.stores.plans import watched


class Talk:
    """A conversation of two, and what was written in it, by the writers' numbers."""

    def __init__(self) -> None:
        self.people = [User.objects.create(username=name) for name in ("alice", "bob")]
        conversation = conversation_create(owner=self.people[0])
        self.id = str(conversation.pk)
        Participant.objects.create(conversation=conversation, user=self.people[1])
        self.written: list[int] = []

    def write(self, writer: int, count: int) -> None:
        sender = UserRef(str(self.people[writer].pk), "")
        texts = [f"{len(self.written) + number}" for number in range(count)]
        write_batch([Draft(self.id, text, "user", sender, text) for text in texts])
        self.written += [writer] * count

    def read(self, reader: int, sequence: int) -> None:
        Participant.objects.filter(user=self.people[reader]).update(last_read_sequence=sequence)

    def unread(self) -> list[int]:
        ids = [str(one.pk) for one in self.people]
        (news,) = unread.conversation_news([self.id], set(ids))
        return [news.unread[one] for one in ids]


def test_it_is_what_others_wrote_above_the_position_however_it_came_to_be(
    transactional_db: None,
) -> None:
    talk, positions = Talk(), [0, 0]
    for _ in range(60):
        who = random.randrange(2)
        if random.random() < 0.6:
            talk.write(who, random.randint(1, 3))
        elif random.random() < 0.5:
            positions[who] = random.randint(positions[who], len(talk.written))
            talk.read(who, positions[who])
        expected = [
            sum(writer != reader for writer in talk.written[positions[reader] :])
            for reader in range(2)
        ]
        assert talk.unread() == expected, (talk.written, positions)


@pytest.mark.stores("sqlite")
def test_what_was_counted_once_is_not_counted_again(db: None) -> None:
    """Who writes and never reads has a long way from their position to the end."""
    talk = Talk()
    talk.write(0, 400)
    unread._counted.clear()
    connection.ensure_connection()
    with watched() as first:
        assert talk.unread() == [0, 400]
    talk.write(0, 2)
    with watched() as second:
        assert talk.unread() == [0, 402]
    assert second.work < first.work / 3

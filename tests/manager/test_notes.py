"""Read positions and session states, many in one batch."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from ovara.accounts.models import User
from ovara.errors import NotFound
from ovara.times import now
from sessions_app.models import Conversation, Participant, Session
from sessions_app.notes import MoveRead, Position, ReplaceState, write_batch
from sessions_app.services import conversation_create
from tests.support.statements import calling, once


class Reader:
    """Somebody with a part in a conversation of five messages, and a session."""

    def __init__(self) -> None:
        user = User.objects.create(username="reader")
        talk = conversation_create(owner=user)
        Conversation.objects.filter(pk=talk.pk).update(last_sequence=5)
        session = Session.objects.create(
            client_id=uuid.uuid4(), user=user, expires_at=now() + timedelta(days=1)
        )
        self.user_id, self.talk, self.session_id = str(user.pk), str(talk.pk), str(session.pk)

    def move(self, sequence: int) -> MoveRead:
        return MoveRead(self.talk, self.user_id, sequence)

    @property
    def position(self) -> int:
        return Participant.objects.get().last_read_sequence


@pytest.fixture
def reader(db: None) -> Reader:
    return Reader()


def test_of_one_batch_each_tab_hears_how_far_the_user_had_read_by_then(reader: Reader) -> None:
    results = write_batch([reader.move(sequence) for sequence in (2, 4, 3, 99, 5)])
    assert results == [
        Position(2, moved=True),
        Position(4, moved=True),
        Position(4, moved=False),
        Position(5, moved=True),
        Position(5, moved=False),
    ]
    assert reader.position == 5
    assert write_batch([reader.move(1)]) == [Position(5, moved=False)]
    assert reader.position == 5


def test_the_position_stays_where_another_node_has_moved_it_meanwhile(reader: Reader) -> None:
    moving = once(lambda: Participant.objects.update(last_read_sequence=4))
    with calling(moving, before="UPDATE", table=Participant._meta.db_table):
        assert write_batch([reader.move(3)]) == [Position(4, moved=False)]
    assert reader.position == 4


def test_who_has_no_part_is_refused_alone(reader: Reader) -> None:
    stranger = User.objects.create(username="stranger")
    refused, taken, lost = write_batch(
        [
            MoveRead(reader.talk, str(stranger.pk), 1),
            reader.move(1),
            ReplaceState(str(uuid.uuid4()), {}),
        ]
    )
    assert isinstance(refused, NotFound)
    assert taken == Position(1, moved=True)
    assert isinstance(lost, NotFound)


def test_the_last_state_of_a_batch_is_kept(reader: Reader) -> None:
    states = [ReplaceState(reader.session_id, {"number": number}) for number in range(3)]
    assert write_batch(states) == [None, None, None]
    assert Session.objects.get().state == {"number": 2}

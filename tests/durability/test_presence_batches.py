"""Presence where one batch holds what belongs together, or two nodes do the same at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet

from connections.models import Client, Connection, Node, Subscription
from connections.registry import write_batch
from connections.registry.presence import Expel, SetAway, Settle, Subscribe, Unsubscribe
from ovara.accounts.models import User
from ovara.times import now
from sessions_app.models import Participant
from sessions_app.records import UserRef
from sessions_app.services import conversation_create
from tests.support.statements import calling


class Room:
    """A user's conversation, and their tabs on one node."""

    def __init__(self, username: str = "alice", talk: str = "") -> None:
        self.owner = User.objects.create(username=username)
        self.user = UserRef(str(self.owner.pk), username)
        if talk:
            Participant.objects.create(conversation_id=talk, user=self.owner)
        self.talk = talk or str(conversation_create(owner=self.owner).pk)
        self.node = Node.objects.create(hostname="here", pid=1)

    def tab(self) -> str:
        client = Client.objects.create(user=self.owner)
        row = Connection.objects.create(node=self.node, client=client, user=self.owner)
        return str(row.pk)

    def join(self, tab: str, *, is_away: bool = False) -> Subscribe:
        client_id = str(Connection.objects.get(pk=tab).client_id)
        return Subscribe(tab, self.talk, self.user, client_id, str(self.node.pk), is_away)

    def leave(self, tab: str, *, ago: timedelta = timedelta()) -> None:
        write_batch([Unsubscribe(tab, self.talk)])
        Subscription.objects.filter(connection_id=tab).update(left_at=now() - ago)

    @property
    def is_present(self) -> bool:
        return Subscription.objects.filter(left_at__isnull=True).exists()


@pytest.fixture
def room(db: None) -> Room:
    return Room()


def told(results: list[Any]) -> list[tuple[str, str]]:
    return [(change.event, change.state) for changes in results for change in changes or ()]


def test_who_is_brought_in_again_and_joins_in_the_same_batch_is_in(room: Room) -> None:
    tab = room.tab()
    write_batch([room.join(tab)])
    results = write_batch([Expel(room.talk, room.user.id), room.join(tab)])
    assert told(results) == [("left", "active"), ("joined", "active")]
    assert room.is_present


def test_changes_of_one_batch_are_told_in_the_order_in_which_they_were_written(
    room: Room,
) -> None:
    hidden, shown = room.tab(), room.tab()
    write_batch([room.join(hidden, is_away=True), room.join(shown)])
    room.leave(shown)
    # Written the other way round: first the join, by which the user is away.
    results = write_batch([SetAway(hidden, room.user, False), room.join(shown, is_away=True)])
    assert told(results) == [("state", "away"), ("state", "active")]


@contextlib.contextmanager
def another_node_settles(rows: QuerySet[Subscription], *, before: str) -> Iterator[None]:
    """Delete `rows`, as another node would, before our statements of a kind."""
    busy, came = False, False

    def settle() -> None:
        nonlocal busy, came
        if not busy:
            busy = came = True
            # Each time: what we take back must not bring them back.
            rows.delete()
            busy = False

    with calling(settle, before, Subscription._meta.db_table):
        yield
    assert came, f"nothing began with {before}"


def test_a_leave_that_another_node_has_settled_is_not_told_again(room: Room) -> None:
    tab, other = room.tab(), Room("bob", room.talk)
    others_tab = other.tab()
    write_batch([room.join(tab), other.join(others_tab)])
    for one in (tab, others_tab):
        room.leave(one, ago=timedelta(hours=1))
    with another_node_settles(Subscription.objects.filter(connection_id=tab), before="DELETE"):
        (changes,) = write_batch([Settle()])
    assert [(change.event, change.user.username) for change in changes] == [("left", "bob")]
    assert not Subscription.objects.exists()


def test_one_of_two_nodes_tells_of_a_user_whose_tabs_they_settle_together(room: Room) -> None:
    first, last = room.tab(), room.tab()
    write_batch([room.join(first), room.join(last)])
    room.leave(first, ago=timedelta(hours=2))
    room.leave(last, ago=timedelta(hours=1))
    with another_node_settles(Subscription.objects.filter(connection_id=first), before="DELETE"):
        assert told(write_batch([Settle()])) == [("left", "active")]
    write_batch([room.join(first), room.join(last)])
    room.leave(first, ago=timedelta(hours=2))
    room.leave(last, ago=timedelta(hours=1))
    with another_node_settles(Subscription.objects.filter(connection_id=last), before="DELETE"):
        assert told(write_batch([Settle()])) == []


def test_who_comes_back_while_another_node_settles_their_leave_is_told_to_have_joined(
    room: Room,
) -> None:
    before, after = room.tab(), room.tab()
    write_batch([room.join(before)])
    room.leave(before, ago=timedelta(hours=1))
    with another_node_settles(Subscription.objects.filter(connection_id=before), before="UPDATE"):
        assert told(write_batch([room.join(after)])) == [("joined", "active")]


def test_who_came_back_is_not_settled_any_more(room: Room) -> None:
    before, after = room.tab(), room.tab()
    write_batch([room.join(before)])
    room.leave(before, ago=timedelta(hours=1))
    assert told(write_batch([room.join(after), Settle()])) == []
    assert Subscription.objects.count() == 2


def test_who_may_still_come_back_is_not_settled_with_those_who_are_gone(room: Room) -> None:
    """Somebody else's grace is over in the midst of a reload."""
    tab, other = room.tab(), Room("bob", room.talk)
    others_tab = other.tab()
    write_batch([room.join(tab), other.join(others_tab)])
    other.leave(others_tab, ago=timedelta(hours=1))
    room.leave(tab)
    (changes,) = write_batch([Settle()])
    assert [(change.event, change.user) for change in changes] == [("left", other.user)]
    assert told(write_batch([room.join(tab)])) == []

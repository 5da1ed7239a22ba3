"""MongoDB: the indexes that the hot queries need are there, and the queries are such as can use
them.

What a real server's planner then chooses is not asked: SecantusDB has another one. What every
planner of MongoDB needs is: conditions that are no `$expr`, on the first column of an index, before
anything else is done to the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models

from connections.close_requests import close_inactive
from connections.manager import WebSocketManager
from connections.models import Client, Connection, Node, Subscription
from connections.registry.nodes import nodes_reap, nodes_reap_own_host
from connections.selectors import (
    client_connections,
    connection_stats,
    connections_of_token,
    connections_of_user,
    presence,
    requested_closes,
    rights_lost,
)
from ovara.accounts.models import RevokedToken, User
from ovara.accounts.selectors import revoked_among
from ovara.database import in_thread
from ovara.mongo.engine.collection import Collection
from ovara.times import now
from sessions_app.models import Conversation, Message, Participant, Session
from sessions_app.notes import read_position_move, session_state_replace
from sessions_app.selectors import conversation_details, conversations_of, history
from sessions_app.unread import conversation_news
from tests.support.in_process import add, make_conversation, make_person, running_manager

pytestmark = pytest.mark.stores("mongodb", "mongodb-standalone")

NO_SENDER = {"sender_id": {"$eq": None}}

# model, columns ("-": descending), unique, the rows that it holds (None: all)
NEEDED = [
    (Message, ("conversation_id", "sequence"), True, None),
    # With and without a sender; the next one says it again for those without.
    (Message, ("conversation_id", "client_message_id", "sender_id"), True, None),
    (Message, ("conversation_id", "client_message_id"), True, NO_SENDER),
    (Message, ("conversation_id", "sender_id", "sequence"), False, None),
    (Message, ("id",), True, None),
    (Conversation, ("id",), True, None),
    (Conversation, ("-updated_at", "-id"), False, None),
    (Participant, ("conversation_id", "user_id"), True, None),
    (Participant, ("user_id",), False, None),
    (Session, ("id",), True, None),
    (Session, ("client_id",), True, None),
    (Session, ("user_id",), False, None),
    (Session, ("expires_at",), False, None),
    (Client, ("id",), True, None),
    (Client, ("user_id",), False, None),
    (Node, ("id",), True, None),
    (Node, ("last_heartbeat",), False, None),
    (Connection, ("id",), True, None),
    (Connection, ("node_id", "disconnected_at", "requested_close_code"), False, None),
    (Connection, ("client_id", "disconnected_at"), False, None),
    (Connection, ("user_id", "disconnected_at"), False, None),
    (Connection, ("ip_address", "disconnected_at"), False, None),
    (Connection, ("session_id",), False, None),
    (Connection, ("disconnected_at", "connected_at"), False, None),
    (Connection, ("token_family", "disconnected_at"), False, None),
    (Subscription, ("id",), True, None),
    (Subscription, ("connection_id", "conversation_id"), True, None),
    (Subscription, ("conversation_id", "user_id"), False, None),
    (Subscription, ("node_id",), False, None),
    (Subscription, ("left_at",), False, None),
    (User, ("id",), True, None),
    (User, ("username",), True, None),
    (RevokedToken, ("jti",), True, None),
    (RevokedToken, ("expires_at",), False, None),
]


def indexes(table: str) -> list[Mapping[str, Any]]:
    found = connection.database[table].index_information()  # type: ignore[attr-defined]
    return list(found.values())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "columns", "unique", "rows"),
    NEEDED,
    ids=[f"{model.__name__}: {', '.join(columns)}" for model, columns, _, _ in NEEDED],
)
def test_the_indexes_that_hot_queries_need_are_there(
    model: type[models.Model], columns: tuple[str, ...], unique: bool, rows: Mapping[str, Any]
) -> None:
    keys = [(name.removeprefix("-"), -1 if name.startswith("-") else 1) for name in columns]
    [index] = [one for one in indexes(model._meta.db_table) if one["key"] == keys]
    assert bool(index.get("unique")) == unique
    assert index.get("partialFilterExpression") == rows


@dataclass
class Asked:
    """What was sent to the server."""

    table: str
    conditions: Mapping[str, Any]
    # The stages of an aggregation that come before its conditions.
    before: list[str]

    def columns(self) -> set[str]:
        """The columns of which the rows must have certain values, or values in a range."""
        return set(_columns(self.conditions))

    def can_use_an_index(self) -> bool:
        """Of one that holds every row at least the first column; in the largest table two, lest a
        long conversation be read from its beginning."""
        columns = self.columns()
        needed = min(2, len(columns)) if self.table == Message._meta.db_table else 1
        return any(
            _leading(index, columns) >= needed
            for index in indexes(self.table)
            if "partialFilterExpression" not in index
        )


def _leading(index: Mapping[str, Any], columns: set[str]) -> int:
    """How many of the index's columns, from the first on, are among these."""
    return len(list(itertools.takewhile(lambda key: key[0] in columns, index["key"])))


def _columns(conditions: Mapping[str, Any]) -> Iterator[str]:
    for name, condition in conditions.items():
        if name == "$and":
            for one in condition:
                yield from _columns(one)
        elif name == "$or":
            # Each of the alternatives has to use one.
            yield from set.intersection(*(set(_columns(one)) for one in condition))
        elif not name.startswith("$") and condition not in ({"$exists": True}, {"$ne": None}):
            yield name


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """All that was asked of the server so far."""
    seen: list[Asked] = []
    aggregate, update, delete = (
        Collection.aggregate,
        Collection.update_many,
        Collection.delete_many,
    )

    def note_aggregate(self: Collection, pipeline: Any, **options: Any) -> Any:
        stages = [next(iter(stage)) for stage in pipeline]
        place = stages.index("$match") if "$match" in stages else 0
        conditions = pipeline[place]["$match"] if "$match" in stages else {}
        seen.append(Asked(self.name, conditions, stages[:place]))
        return aggregate(self, pipeline, **options)

    def note_update(self: Collection, conditions: Any, *args: Any, **options: Any) -> Any:
        seen.append(Asked(self.name, conditions, []))
        return update(self, conditions, *args, **options)

    def note_delete(self: Collection, conditions: Any, *args: Any, **options: Any) -> Any:
        seen.append(Asked(self.name, conditions, []))
        return delete(self, conditions, *args, **options)

    monkeypatch.setattr(Collection, "aggregate", note_aggregate)
    monkeypatch.setattr(Collection, "update_many", note_update)
    monkeypatch.setattr(Collection, "delete_many", note_delete)
    return seen


def _end_all_graces() -> None:
    ended = Subscription.objects.filter(left_at__lte=now())
    ended.update(left_at=now() - timedelta(hours=1))


async def talk_a_while(manager: WebSocketManager) -> None:
    """Whatever a node does again and again."""
    alice, bob = await make_person(), await make_person()
    talk = await make_conversation(alice, bob)
    connection_id, _ = await add(manager, alice, None, talk)
    other_id, _ = await add(manager, bob, None, talk)
    for content in ("a message", "and its repeat"):
        await manager.post_message(talk, content, sender=alice.id, client_message_id="one")
    await manager.post_message(talk, "of server code")
    info = manager.active_connections[connection_id]
    user = info.user
    assert user is not None and info.session_id is not None and info.client_id is not None
    await read_position_move(conversation_id=talk, user=user, sequence=1)
    await session_state_replace(session_id=info.session_id, client_id=info.client_id, state={})
    for reads in (
        lambda: history(conversation_id=talk),
        lambda: history(conversation_id=talk, after=1),
        lambda: history(conversation_id=talk, before=2),
        lambda: conversation_details(
            conversations=conversations_of(alice.user)[:50], user_id=alice.id
        ),
        lambda: conversation_news([talk], {alice.id, bob.id}),
        lambda: presence(talk),
        lambda: client_connections(str(info.client_id)),
        lambda: connections_of_user(alice.id),
        lambda: connections_of_token("a token"),
        lambda: revoked_among({"a token"}),
        lambda: requested_closes(manager.node.id),
        lambda: rights_lost([alice.id], ["a token"]),
        nodes_reap,
        lambda: nodes_reap_own_host(UUID(manager.node.id)),
    ):
        await in_thread(reads)
    await manager.node.beat()
    await manager.leave_conversation(other_id, talk)
    await manager.remove_connection(other_id)
    await in_thread(_end_all_graces)
    await manager.node.settle()
    await in_thread(connection_stats)
    await close_inactive(manager.node, 30)


# Tables with a row for each server process, or none for each person.
SMALL = {Node._meta.db_table}


@pytest.mark.django_db(transaction=True)
async def test_hot_queries_are_such_as_can_use_an_index(asked: list[Asked]) -> None:
    async with running_manager() as manager:
        asked.clear()
        await talk_a_while(manager)
    large = [one for one in asked if one.table not in SMALL]
    assert {one.table for one in large} >= {
        model._meta.db_table for model, *_ in NEEDED if model is not Node
    }
    assert [one for one in large if one.before] == []
    without = await in_thread(lambda: [one for one in large if not one.can_use_an_index()])
    assert without == []

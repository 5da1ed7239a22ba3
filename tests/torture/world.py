"""The run's accounts and conversations, and what is stored in the end.

Everything goes by the ORM and the environment's `DATABASE_URL`: any database will do.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from django.db import connection

from connections.models import Connection, Node, Subscription
from connections.registry.liveness import live_node_ids
from ovara.accounts.models import User
from ovara.accounts.tokens import AccessToken
from ovara.ids import new_id
from sessions_app.models import Conversation, Message, Participant, Role
from sessions_app.records import MessageRecord, records_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Person:
    """A user, and the conversations in which they have a part."""

    id: str
    username: str
    token: str
    conversation_ids: list[str]


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation as the database has it; messages in the order of their sequences."""

    epoch: str
    last_sequence: int
    messages: list[dict[str, Any]]
    # user id → how far they have read
    read: dict[str, int]


async def in_database(action: Callable[[], T]) -> T:
    """Call `action`, which uses the ORM, in a thread with a connection of its own."""

    def act() -> T:
        try:
            return action()
        finally:
            connection.close()

    return await asyncio.to_thread(act)


def make_world(*, people: int, conversations: int) -> list[Person]:
    """Accounts and conversations; every user is in two of three conversations."""
    users = [User(username=f"torture-{number}-{new_id().hex}") for number in range(people)]
    User.objects.bulk_create(users)
    rows = [Conversation(title=f"Torture {n}", created_by=users[0]) for n in range(conversations)]
    Conversation.objects.bulk_create(rows)
    parts: dict[str, list[str]] = defaultdict(list)
    for number, user in enumerate(users):
        for place, row in enumerate(rows):
            if (number + place) % 3:
                parts[str(user.pk)].append(str(row.pk))
    Participant.objects.bulk_create(
        Participant(conversation_id=conversation_id, user_id=user_id, role=Role.MEMBER)
        for user_id, ids in parts.items()
        for conversation_id in ids
    )
    return [
        Person(str(user.pk), user.username, str(AccessToken.for_user(user)), parts[str(user.pk)])
        for user in users
    ]


def stored_conversation(conversation_id: str) -> StoredConversation:
    """All that is stored of a conversation, messages as they go over the wire."""
    row = Conversation.objects.get(pk=conversation_id)
    rows = Message.objects.filter(conversation_id=conversation_id).order_by("sequence", "id")
    parts = Participant.objects.filter(conversation_id=conversation_id)
    return StoredConversation(
        epoch=row.epoch,
        last_sequence=row.last_sequence,
        messages=[_as_json(record) for record in records_of(rows)],
        read={str(part.user_id): part.last_read_sequence for part in parts},
    )


def _as_json(record: MessageRecord) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(record)
    return fields


@dataclass(frozen=True, slots=True)
class StoredPresence:
    """Who is connected, as the database has it."""

    live_nodes: int
    # Open rows of nodes that are not alive: nobody would ever close them.
    of_dead_nodes: list[str]
    connections: set[str]
    # (connection id, conversation id) of open subscriptions
    subscriptions: set[tuple[str, str]]
    # How many ended and were not yet removed.
    leaving: int


def stored_presence() -> StoredPresence:
    live = live_node_ids()
    open_connections = Connection.objects.filter(disconnected_at__isnull=True)
    subscriptions = Subscription.objects.filter(left_at__isnull=True)
    dead = Node.objects.exclude(pk__in=live)
    return StoredPresence(
        live_nodes=len(live),
        of_dead_nodes=[
            f"{row} on {row.node_id}"
            for rows in (open_connections, subscriptions)
            for row in rows.filter(node_id__in=[node.pk for node in dead])
        ],
        connections={str(row.pk) for row in open_connections},
        subscriptions={(str(row.connection_id), str(row.conversation_id)) for row in subscriptions},
        leaving=Subscription.objects.filter(left_at__isnull=False).count(),
    )

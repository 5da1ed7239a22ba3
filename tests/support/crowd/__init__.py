"""A database as after a month of busy use, written by bulk: for tests and benchmarks of size.

What its `Crowd` names is the same at every size.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from ovara.accounts.models import RevokedToken, User
from tests.support.crowd.bulk import Row, insert
from tests.support.crowd.clients import TABS, Clients
from tests.support.crowd.talk import RARE as RARE
from tests.support.crowd.talk import Talk
from tests.support.crowd.times import Chance


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is; of other things in proportion."""

    messages: int
    conversations: int
    open_connections: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """Whom and what to look at.

    `alice` owns `giant`, a long conversation, and `talk`, a short one that nobody has joined. Her
    `connections` are those of `client`, on the first of the living `nodes`.
    """

    size: Size
    staff: User
    alice: User
    bob: User
    carol: User
    giant: str
    giant_length: int
    talk: str
    client: str
    session: str
    connections: list[str]
    nodes: list[str]


def fill(size: Size) -> Crowd:
    """Fill the empty default database."""
    chance = Chance()
    users = [
        User(username=f"user{number}", password="!")
        for number in range(max(20, size.conversations // 2))
    ]
    staff = User(username="staff", password="!", is_staff=True, is_superuser=True)
    talk = Talk(chance, users, size.messages, size.conversations)
    clients = Clients(chance, users, talk, size.open_connections)
    with transaction.atomic():
        User.objects.bulk_create([staff, *users], batch_size=500)
        talk.fill()
        clients.fill()
        insert(RevokedToken, _revoked(chance, size.open_connections // 5))
    client, session, _ = clients.owned[0]
    return Crowd(
        size=size,
        staff=staff,
        alice=users[0],
        bob=users[1],
        carol=users[2],
        giant=str(talk.keys[0]),
        giant_length=talk.lengths[0],
        talk=str(talk.keys[talk.last_of_first]),
        client=str(client),
        session=str(session),
        connections=[str(row["id"]) for row in clients.opened[:TABS]],
        nodes=[str(node.pk) for node in clients.live],
    )


def _revoked(chance: Chance, count: int) -> Iterator[Row]:
    """Every other one has expired."""
    for number in range(count):
        yield {
            "jti": uuid.uuid4().hex,
            "revoked_at": chance.start,
            "expires_at": chance.end + timedelta(days=1 if number % 2 else -1),
        }

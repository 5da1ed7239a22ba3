"""Clients, their sessions, and their connections: as many closed ones as are open, a part of them
past the retention."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from connections.models import Client, Connection, Node, Subscription
from ovara.accounts.models import User
from sessions_app.models import Session
from tests.support.crowd.bulk import Row, insert
from tests.support.crowd.talk import Talk
from tests.support.crowd.times import DAYS, Chance

LIVE_NODES = 4
STOPPED_NODES = 20
# Connections of a client; and of an address.
TABS, OF_ADDRESS = 2, 3
# One in so many …
PAST_RETENTION = 10
CLOSED_BY_REQUEST = 5
EXPIRED = 20
INACTIVE = 20

Owned = tuple[uuid.UUID, uuid.UUID, User]  # client id, session id, user


class Clients:
    """Fills what belongs to clients. The first is the first user's only one."""

    def __init__(self, chance: Chance, users: Sequence[User], talk: Talk, open_count: int) -> None:
        self.chance = chance
        self.talk = talk
        self.addresses = max(1, open_count // OF_ADDRESS)
        self.live = [self._node(number) for number in range(LIVE_NODES)]
        self.stopped = [
            self._node(number, stopped_at=chance.end) for number in range(STOPPED_NODES)
        ]
        first, *others = users
        owners = [first, *chance.choices(others, k=max(1, open_count // TABS) - 1)]
        self.owned = [(self._old_key(), self._old_key(), user) for user in owners]
        self.opened: list[Row] = []

    @staticmethod
    def _node(number: int, stopped_at: datetime | None = None) -> Node:
        return Node(hostname=f"crowd{number}", pid=number, stopped_at=stopped_at)

    def _old_key(self) -> uuid.UUID:
        return self.chance.key(self.chance.start)

    def fill(self) -> None:
        Node.objects.bulk_create([*self.live, *self.stopped])
        insert(Client, self._clients())
        insert(Session, self._sessions())
        insert(Connection, (row for one in self.owned for row in self._closed(one)))
        self.opened = [row for one in self.owned for row in self._open(one)]
        insert(Connection, self.opened)
        insert(Subscription, self._subscriptions())

    def _clients(self) -> Iterator[Row]:
        for client, _, user in self.owned:
            yield {
                "id": client,
                "user_id": user.pk,
                "label": "",
                "first_seen": self.chance.start,
                "last_seen": self.chance.recent(),
            }

    def _sessions(self) -> Iterator[Row]:
        for number, (client, session, user) in enumerate(self.owned):
            is_over = number and self.chance.one_in(EXPIRED)
            active = self.chance.recent() - timedelta(days=DAYS if is_over else 0)
            yield {
                "id": session,
                "client_id": client,
                "user_id": user.pk,
                "state": '{"draft": ""}',
                "created_at": self.chance.start,
                "last_active_at": active,
                "expires_at": active + timedelta(days=DAYS - 1),
            }

    def _open(self, owned: Owned) -> Iterator[Row]:
        is_first = owned is self.owned[0]
        for _ in range(TABS):
            silent = 60 if self.chance.one_in(INACTIVE) else 1
            node = self.live[0] if is_first else self.chance.choice(self.live)
            active = self.chance.end - timedelta(minutes=silent)
            yield self._connection(owned, node, self.chance.recent(), active)

    def _closed(self, owned: Owned) -> Iterator[Row]:
        for _ in range(TABS):
            days = 8 if self.chance.one_in(PAST_RETENTION) else 1
            at = self.chance.recent() - timedelta(days=days)
            node = self.chance.choice([*self.live, *self.stopped])
            row = self._connection(owned, node, at - timedelta(hours=1), at)
            asked = self.chance.one_in(CLOSED_BY_REQUEST)
            row |= {"disconnected_at": at, "close_code": 4408 if asked else 1001}
            yield row | {"requested_close_code": 4408 if asked else None}

    def _connection(self, owned: Owned, node: Node, at: datetime, active: datetime) -> Row:
        client, session, user = owned
        number = self.chance.randrange(self.addresses)
        return {
            "id": self.chance.key(at),
            "node_id": node.pk,
            "client_id": client,
            "user_id": user.pk,
            "session_id": session,
            "authenticated": True,
            "token_family": uuid.uuid4().hex,
            "connected_at": at,
            "last_seen": active,
            "last_active": active,
            "disconnected_at": None,
            "close_code": None,
            "close_reason": "",
            "ip_address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "user_agent": "A browser",
            "requested_close_code": None,
            "requested_close_reason": "",
            "requested_inactive_before": None,
        }

    def _subscriptions(self) -> Iterator[Row]:
        """Everybody has joined one of their conversations; but nobody a giant, or the first user's
        last one: so these cost the same however many people there are."""
        places = self.talk.of_users()
        for row in self.opened:
            theirs = [
                place
                for place in places[row["user_id"]]
                if place >= self.talk.giants and place != self.talk.last_of_first
            ]
            if theirs:
                yield {
                    "id": self.chance.key(self.chance.end),
                    "connection_id": row["id"],
                    "conversation_id": self.talk.keys[self.chance.choice(theirs)],
                    "user_id": row["user_id"],
                    "client_id": row["client_id"],
                    "node_id": row["node_id"],
                    "is_away": False,
                    "joined_at": self.chance.end,
                    "left_at": None,
                }

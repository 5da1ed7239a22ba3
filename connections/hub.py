"""This process's connections: indexes and local fan-out. No I/O, no database, no waiting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connections import metrics
from connections.audiences import Audiences
from connections.frame_outbox import FrameOutbox
from connections.outbox import Outbox
from connections.publication import Publication
from connections.rounds import catch_up, round_of, settle
from ovara.accounts.tokens import VerifiedToken
from ovara.times import now
from sessions_app.records import UserRef

_NONE: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class ConnectionInfo:
    """One WebSocket of this process.

    `heard_at` and `active_at` are `time.monotonic()` seconds: the newest frame of any type, and of
    any type but `ping`. `joined` maps each joined conversation to its floor: messages up to that
    sequence came with the `join`. `joining` are those whose `join` is still to be answered; not a
    set of its own, which would be the greatest part of an idle connection.
    """

    connection_id: str
    outbox: Outbox | FrameOutbox
    # What the query asked for; not the connection's until a token has proved the right to it.
    wanted_client_id: str | None = None
    wanted_session_id: str | None = None
    client_id: str | None = None
    user: UserRef | None = None
    session_id: str | None = None
    authenticated: bool = False
    token: VerifiedToken | None = None
    ip_address: str | None = None
    user_agent: str = ""
    is_away: bool = False
    stored_away: bool = False  # what the database has of it
    connected_at: datetime = field(default_factory=now)
    heard_at: float = field(default_factory=time.monotonic)
    active_at: float = field(default_factory=time.monotonic)
    joined: dict[str, int] = field(default_factory=dict)
    joining: frozenset[str] = _NONE
    opened_at: float = field(default_factory=time.monotonic)
    # No deadline of this connection can be reached before; see deadlines.py.
    next_deadline_at: float = 0.0
    expiring_lead: float = 0.0
    expiring_told: bool = False


class Hub:
    """Who is connected here. Every look-up is O(1), every removal O(its own conversations)."""

    def __init__(self) -> None:
        # connection_id → connection
        self.connections: dict[str, ConnectionInfo] = {}
        # client_id → {connection_id: connection}
        self.client_connections = Audiences()
        # user_id → {connection_id: connection}; authenticated ones only
        self.user_connections = Audiences()
        # conversation_id → {connection_id: connection}
        self.conversation_connections = Audiences()
        # conversation_id → {connection_id: publications} that wait for the `join` to be answered
        self._joining: dict[str, dict[str, list[Publication]]] = {}
        self._authenticated = 0

    def counts(self) -> dict[str, int]:
        """How many are here, as statistics name them. O(1)."""
        return {
            "total_connections": len(self.connections),
            "authenticated_connections": self._authenticated,
            "unique_clients": len(self.client_connections),
            "unique_users": len(self.user_connections),
            "active_conversations": len(self.conversation_connections),
        }

    def add(self, connection: ConnectionInfo) -> list[tuple[str, str]]:
        """Index a connection by its id and client.

        Returns:
            The audiences (kind, id) that have their first connection here.
        """
        self.connections[connection.connection_id] = connection
        metrics.CONNECTIONS.set(len(self.connections))
        return self._index(connection)

    def authenticate(self, connection: ConnectionInfo) -> list[tuple[str, str]]:
        """Index a connection by what its token brought; returns audiences as `add` does."""
        if not connection.authenticated:
            connection.authenticated = True
            self._authenticated += 1
            metrics.AUTHENTICATED.set(self._authenticated)
        return self._index(connection)

    def _index(self, connection: ConnectionInfo) -> list[tuple[str, str]]:
        first: list[tuple[str, str]] = []
        if connection.client_id and self.client_connections.put(connection.client_id, connection):
            first.append(("client", connection.client_id))
        user = connection.user if connection.authenticated else None
        if user is not None and self.user_connections.put(user.id, connection):
            first.append(("user", user.id))
        return first

    def remove(self, connection_id: str) -> tuple[ConnectionInfo | None, list[tuple[str, str]]]:
        """Forget a connection.

        Returns:
            It, or None if it was not here, and the audiences that have no connection here now.
        """
        connection = self.connections.pop(connection_id, None)
        if connection is None:
            return None, []
        metrics.CONNECTIONS.set(len(self.connections))
        if connection.authenticated:
            self._authenticated -= 1
            metrics.AUTHENTICATED.set(self._authenticated)
        last: list[tuple[str, str]] = []
        if connection.client_id and self.client_connections.take(
            connection.client_id, connection_id
        ):
            last.append(("client", connection.client_id))
        if connection.user and self.user_connections.take(connection.user.id, connection_id):
            last.append(("user", connection.user.id))
        for conversation_id in connection.joining.union(connection.joined):
            last += self.leave(connection, conversation_id)
        return connection, last

    def clear(self) -> None:
        """Forget every connection."""
        for connection_id in list(self.connections):
            self.remove(connection_id)

    def begin_join(self, connection: ConnectionInfo, conversation_id: str) -> bool:
        """From now on publications wait for `finish_join`, and none comes live.

        Returns:
            False where the connection has ended meanwhile: nothing is done.
        """
        if conversation_id in connection.joined:
            settle(conversation_id)
        # Now: it may read so slowly that this was its end.
        if connection.connection_id not in self.connections:
            return False
        connection.joining |= {conversation_id}
        self.conversation_connections.take(conversation_id, connection.connection_id)
        waiting = self._joining.setdefault(conversation_id, {})
        waiting.setdefault(connection.connection_id, [])
        return True

    def finish_join(
        self, connection: ConnectionInfo, conversation_id: str, sequence: int
    ) -> list[Publication] | None:
        """Go live above `sequence`.

        Returns:
            What was published meanwhile, still to be sent behind the answer; None where the
            connection has ended or was taken out of the conversation since `begin_join`.
        """
        # First: what that sets off still waits for this one, or ends it.
        settle(conversation_id)
        waited = self._stop_waiting(connection, conversation_id)
        if waited is None:
            return None
        connection.joined[conversation_id] = sequence
        self.conversation_connections.put(conversation_id, connection)
        return [item for item in waited if not 0 < item.sequence <= sequence]

    def abandon_join(self, connection: ConnectionInfo, conversation_id: str) -> list[Publication]:
        """A `join` failed. One that had joined before goes on as it was, and gets what waited."""
        settle(conversation_id)
        waited = self._stop_waiting(connection, conversation_id)
        if waited is None or conversation_id not in connection.joined:
            return []
        self.conversation_connections.put(conversation_id, connection)
        return waited

    def leave(self, connection: ConnectionInfo, conversation_id: str) -> list[tuple[str, str]]:
        """Take a connection out of a conversation; returns audiences as `remove` does."""
        if conversation_id in connection.joined:
            catch_up(conversation_id, connection.connection_id)
        connection.joined.pop(conversation_id, None)
        self._stop_waiting(connection, conversation_id)
        self.conversation_connections.take(conversation_id, connection.connection_id)
        return (
            []
            if self.holds("conversation", conversation_id)
            else [("conversation", conversation_id)]
        )

    def _stop_waiting(
        self, connection: ConnectionInfo, conversation_id: str
    ) -> list[Publication] | None:
        connection.joining = connection.joining - {conversation_id} or _NONE
        waiting = self._joining.get(conversation_id, {})
        waited = waiting.pop(connection.connection_id, None)
        if not waiting:
            self._joining.pop(conversation_id, None)
        return waited

    def holds(self, kind: str, target: str) -> bool:
        """Whether any connection here belongs to that audience."""
        return target in self._index_of(kind) or (
            kind == "conversation" and target in self._joining
        )

    def members(self, kind: str, target: str) -> Sequence[ConnectionInfo]:
        """The connections here of an audience."""
        if kind == "connection":
            connection = self.connections.get(target)
            return () if connection is None else (connection,)
        return self._index_of(kind).members(target)

    def _index_of(self, kind: str) -> Audiences:
        if kind == "conversation":
            return self.conversation_connections
        return self.client_connections if kind == "client" else self.user_connections

    def deliver(self, item: Publication) -> None:
        """Put a publication into the outbox of every member here; where they are many, in a
        moment, but before what they are sent by themselves."""
        members = self.members(item.kind, item.target)
        if item.kind == "conversation":
            for connection_id, waiting in self._joining.get(item.target, {}).items():
                if not _excluded(item, self.connections[connection_id]):
                    waiting.append(item)
            if (under_way := round_of(item.target, members)) is not None:
                under_way.add(item, self._excluded_ids(item))
                return
        began_at = time.perf_counter()
        # A hot loop: no look-up that can be made once, no call that can be spared.
        text, droppable, sequence, target = item.text, item.droppable, item.sequence, item.target
        without = self.connections.get(item.exclude)
        without_user = item.exclude_user
        count = 0
        for connection in members:
            if connection is without or (without_user and _is_of(connection, without_user)):
                continue
            if sequence and sequence <= connection.joined.get(target, 0):
                continue
            connection.outbox.put(text, droppable)
            count += 1
        if count:
            metrics.FRAMES_SENT.counts[item.frame_type] += count
        if sequence:
            metrics.FANOUT_SECONDS.observe(time.perf_counter() - began_at)

    def _excluded_ids(self, item: Publication) -> set[str]:
        excluded = {item.exclude} if item.exclude else set()
        if item.exclude_user:
            excluded.update(one.connection_id for one in self.members("user", item.exclude_user))
        return excluded

    def deliver_line(self, item: Publication, conversation_id: str) -> None:
        """Put a line of a user's list into the outboxes of that user's connections. Who has joined
        the conversation hears of it anyway: there the line may wait for the next frame."""
        members = self.members(item.kind, item.target)
        for connection in members:
            if conversation_id in connection.joined:
                connection.outbox.put_soon(item.text)
            else:
                connection.outbox.put(item.text)
        metrics.FRAMES_SENT.counts[item.frame_type] += len(members)


def _excluded(item: Publication, connection: ConnectionInfo) -> bool:
    return connection.connection_id == item.exclude or _is_of(connection, item.exclude_user)


def _is_of(connection: ConnectionInfo, user_id: str) -> bool:
    return connection.user is not None and connection.user.id == user_id

"""Rows as the server would have written them, made directly."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from connections.models import Client, Connection, Node, Subscription
from ovara.accounts.models import RevokedToken, User
from ovara.conf import ovara_settings
from ovara.times import now
from sessions_app.models import Conversation, Message, Participant, Role, Session

_numbers = itertools.count(1)


def make_user(username: str = "", **fields: Any) -> User:
    """An account without a password."""
    return User.objects.create_user(username or f"user{next(_numbers)}", **fields)


def make_node(hostname: str = "node", *, alive: bool = True, stopped: bool = False) -> Node:
    """A node that beats now; or whose heartbeat is over the lapse; or that has stopped."""
    age = 0.0 if alive else ovara_settings().node_lapse_seconds + 1
    heartbeat = now() - timedelta(seconds=age)
    stopped_at = heartbeat if stopped else None
    return Node.objects.create(
        hostname=hostname, pid=next(_numbers), last_heartbeat=heartbeat, stopped_at=stopped_at
    )


def make_session(user: User | None = None, **fields: Any) -> Session:
    """A session that ends tomorrow, with a client of its own."""
    user = user or make_user()
    defaults = {"client_id": Client.objects.create(user=user).pk, "expires_at": in_hours(24)}
    return Session.objects.create(user=user, **defaults | fields)


def make_connection(
    *, node: Node | None = None, user: User | None = None, closed: int | None = None, **fields: Any
) -> Connection:
    """A live connection of a new client; `closed`: the close code of one that is over."""
    user = user or make_user()
    session = make_session(user)
    if closed is not None:
        fields = {"disconnected_at": now(), "close_code": closed} | fields
    return Connection.objects.create(
        node=node or make_node(),
        client_id=session.client_id,
        user=user,
        session=session,
        authenticated=True,
        **fields,
    )


def make_conversation(title: str = "", *, participants: int = 2, messages: int = 2) -> Conversation:
    """A conversation whose first participant owns it, and whose messages take turns."""
    users = [make_user() for _ in range(participants)]
    conversation = Conversation.objects.create(
        title=title, created_by=users[0], last_sequence=messages
    )
    for number, user in enumerate(users):
        role = Role.MEMBER if number else Role.OWNER
        Participant.objects.create(conversation=conversation, user=user, role=role)
    for sequence in range(1, messages + 1):
        make_message(conversation, sequence=sequence, sender=users[sequence % participants])
    return conversation


def make_message(conversation: Conversation, **fields: Any) -> Message:
    """The next message of `conversation`, from its maker."""
    number = next(_numbers)
    defaults = {
        "sender": conversation.created_by,
        "content": f"words {number}",
        "client_message_id": f"message-{number}",
        "metadata": {"number": number},
    }
    if "sequence" not in fields:
        fields["sequence"] = conversation.last_sequence = conversation.last_sequence + 1
        conversation.save()
    return Message.objects.create(conversation=conversation, **defaults | fields)


def make_subscription(connection: Connection) -> Subscription:
    """`connection` has joined a new conversation."""
    return Subscription.objects.create(
        connection=connection,
        conversation=make_conversation(),
        user=connection.user,
        client_id=connection.client_id,
        node=connection.node,
    )


def make_revoked_token() -> RevokedToken:
    return RevokedToken.objects.create(jti=f"family-{next(_numbers)}", expires_at=in_hours(24))


def in_hours(hours: float) -> Any:
    """A moment from now; negative: before now."""
    return now() + timedelta(hours=hours)

"""The shapes that leave this app, the same for REST, for frames and for server code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from django.contrib.auth import get_user_model

from ovara.times import wire

if TYPE_CHECKING:
    from sessions_app.models import Message


class UserRef(msgspec.Struct, frozen=True):
    """A user as others see them."""

    id: str
    username: str


class MessageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message. `created_at` is text already (RFC 3339, UTC, milliseconds)."""

    id: str
    conversation_id: str
    sequence: int
    role: str
    sender: UserRef | None
    content: str
    metadata: dict[str, Any]
    client_message_id: str
    status: str
    created_at: str


class MessagePage(msgspec.Struct, frozen=True):
    """Messages in rising sequence; `has_more`: there are more in the direction asked for."""

    messages: list[MessageRecord]
    has_more: bool


def records_of(messages: Iterable[Message]) -> list[MessageRecord]:
    """`messages` as they go out. One query more, for the senders' names, however many."""
    rows = list(messages)
    senders = {row.sender_id for row in rows if row.sender_id is not None}
    names: dict[Any, str] = {}
    if senders:
        users = get_user_model()._default_manager.filter(pk__in=senders)
        names = dict(users.values_list("pk", "username"))
    return [
        MessageRecord(
            id=str(row.pk),
            conversation_id=str(row.conversation_id),
            sequence=row.sequence,
            role=row.role,
            sender=_user_ref(row.sender_id, names),
            content=row.content,
            metadata=row.metadata,
            client_message_id=row.client_message_id,
            status=row.status,
            created_at=wire(row.created_at),
        )
        for row in rows
    ]


def _user_ref(user_id: Any, names: dict[Any, str]) -> UserRef | None:
    return UserRef(str(user_id), names[user_id]) if user_id in names else None

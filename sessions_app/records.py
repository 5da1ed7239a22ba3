"""The shapes that leave this app, the same for REST, for frames and for server code."""

from __future__ import annotations

from typing import Any

import msgspec


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

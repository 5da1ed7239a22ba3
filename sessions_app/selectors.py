"""Reads of conversations, participants, messages and sessions.

The hot ones join no tables: names are fetched by one query more, however many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from ovara.accounts.models import User
from ovara.errors import Invalid, NotFound
from ovara.pairs import PreparedPairs
from ovara.prepared import as_uuid
from ovara.times import now
from sessions_app.models import Conversation, Message, Participant, Session
from sessions_app.records import MessagePage, MessageRecord, UserRef, records_of
from sessions_app.unread import unread_by_part

HISTORY_DEFAULT_LIMIT = 50
HISTORY_MAX_LIMIT = 200
# An answer ends early at 1 MiB, the frame around the messages included.
MAX_PAGE_BYTES = 1_048_576 - 4_096


@dataclass(frozen=True, slots=True)
class ParticipantDetail:
    """A participant as others see them."""

    user: UserRef
    role: str
    last_read_sequence: int
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class ConversationDetail:
    """A conversation as one of its participants sees it."""

    id: str
    epoch: str
    title: str
    created_by: UserRef | None
    last_sequence: int
    unread: int
    participants: list[ParticipantDetail]
    created_at: datetime


def conversations_of(user: User) -> QuerySet[Conversation]:
    """The conversations in which `user` has a part, the most recent first."""
    if connection.vendor == "mongodb":
        # A join would read every conversation there is, and only then look who has a part.
        parts = Participant.objects.filter(user=user).order_by()
        return Conversation.objects.filter(
            pk__in=list(parts.values_list("conversation", flat=True))
        )
    return Conversation.objects.filter(participants__user=user)


class ConversationPages:
    """`conversations_of` for a paginator: to count them takes the user's parts alone."""

    def __init__(self, user: User) -> None:
        self._user = user

    def count(self) -> int:
        return Participant.objects.filter(user=self._user).count()

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, page: slice) -> list[Conversation]:
        return list(conversations_of(self._user)[page])


def conversation_for(*, user: User, conversation_id: str) -> Conversation:
    """The conversation, for one of its participants.

    Raises:
        NotFound: there is none, or `user` has no part in it.
    """
    conversation = None
    if is_participant(conversation_id=conversation_id, user_id=str(user.pk)):
        conversation = Conversation.objects.filter(pk=conversation_id).first()
    if conversation is None:
        raise NotFound
    return conversation


def is_participant(*, conversation_id: str, user_id: str) -> bool:
    """Whether the user has a part in the conversation."""
    return Participant.objects.filter(conversation_id=conversation_id, user_id=user_id).exists()


def participants_among(places: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of some pairs (conversation id, user id) in which the user has a part."""
    rows = _PARTICIPANTS.rows(places)
    found = {(as_uuid(conversation), as_uuid(user)) for conversation, user in rows}
    return found.intersection(places)


def conversation_details(
    *, conversations: Iterable[Conversation], user_id: str
) -> list[ConversationDetail]:
    """`conversations` as that participant sees them; three queries for a whole page."""
    rows = list(conversations)
    parts = list(Participant.objects.filter(conversation__in=[row.pk for row in rows]))
    users = user_refs([part.user_id for part in parts] + [row.created_by_id for row in rows])
    unread = unread_by_part({row.pk: row.last_sequence for row in rows}, _of_user(parts, user_id))
    by_conversation: dict[UUID, list[ParticipantDetail]] = {row.pk: [] for row in rows}
    for part in parts:
        # A user who was deleted between the queries is left out.
        if part.user_id in users:
            by_conversation[part.conversation_id].append(_participant_detail(part, users))
    return [
        ConversationDetail(
            id=str(row.pk),
            epoch=row.epoch,
            title=row.title,
            created_by=users.get(row.created_by_id),
            last_sequence=row.last_sequence,
            unread=unread.get((row.pk, UUID(user_id)), 0),
            participants=by_conversation[row.pk],
            created_at=row.created_at,
        )
        for row in rows
    ]


def participants_of(conversation_id: str) -> list[ParticipantDetail]:
    """Who has a part in the conversation, in the order they came; two queries."""
    parts = list(Participant.objects.filter(conversation_id=conversation_id))
    users = user_refs(part.user_id for part in parts)
    return [_participant_detail(part, users) for part in parts if part.user_id in users]


def history(
    *,
    conversation_id: str,
    after: int | None = None,
    before: int | None = None,
    limit: int = HISTORY_DEFAULT_LIMIT,
) -> MessagePage:
    """The messages next to a sequence: after it, before it, or with neither the newest.

    Whether the caller may see them is the caller's to check. Two queries.

    Raises:
        Invalid: both `after` and `before`, or a limit out of range.
    """
    if after is not None and before is not None:
        raise _invalid("before", "before: give either after or before, not both.")
    if not 1 <= limit <= HISTORY_MAX_LIMIT:
        raise _invalid("limit", f"limit must be from 1 to {HISTORY_MAX_LIMIT}.")
    rows = Message.objects.filter(conversation_id=conversation_id)
    if after is not None:
        rows = rows.filter(sequence__gt=after).order_by("sequence")
    else:
        rows = rows.order_by("-sequence")
        if before is not None:
            rows = rows.filter(sequence__lt=before)
    # One more than wanted tells whether there are more.
    found = records_of(rows[: limit + 1])
    messages = _up_to_size(found[:limit])
    has_more = len(messages) < len(found)
    if after is None:
        messages.reverse()
    return MessagePage(messages, has_more)


def sessions_visible_to(user: User) -> QuerySet[Session]:
    """The sessions that have not expired: one's own, or all for staff."""
    sessions = Session.objects.filter(expires_at__gt=now()).select_related("user")
    return sessions if user.is_staff else sessions.filter(user=user)


def user_refs(user_ids: Iterable[UUID | None]) -> dict[UUID | None, UserRef]:
    """The users by their ids, as others see them; one query. Unknown ones and None are left out."""
    wanted = {user_id for user_id in user_ids if user_id is not None}
    if not wanted:
        return {}
    rows = get_user_model()._default_manager.filter(pk__in=wanted).values_list("pk", "username")
    return {user_id: UserRef(str(user_id), username) for user_id, username in rows}


def _up_to_size(records: Iterable[MessageRecord]) -> list[MessageRecord]:
    """The first of `records` that fit an answer together; at least one."""
    kept: list[MessageRecord] = []
    size = 0
    for record in records:
        size += len(msgspec.json.encode(record)) + 1
        if kept and size > MAX_PAGE_BYTES:
            break
        kept.append(record)
    return kept


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: [message]})


def _participant_detail(part: Participant, users: dict[Any, UserRef]) -> ParticipantDetail:
    return ParticipantDetail(
        user=users[part.user_id],
        role=part.role,
        last_read_sequence=part.last_read_sequence,
        joined_at=part.joined_at,
    )


def _of_user(parts: Iterable[Participant], user_id: str) -> list[Participant]:
    return [part for part in parts if str(part.user_id) == user_id]


_PARTICIPANTS = PreparedPairs(
    "conversation_id",
    "user_id",
    lambda pairs: (
        Participant.objects.filter(pairs).order_by().values_list("conversation_id", "user_id")
    ),
)

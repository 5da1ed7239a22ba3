"""How much of a conversation its participants have not read.

Unread are the messages above the read position that the user did not send.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from ovara.prepared import PreparedSelect, as_uuid
from sessions_app.models import Conversation, Message, Participant

# Spans in one query: each is a branch of its condition, and databases bound its depth. A power of
# two, which is how many a prepared statement has room for.
_SPANS_PER_QUERY = 128
# Counts that are remembered.
_MAX_COUNTED = 20_000
# Values in one query's list: databases bound its variables.
_VALUES_PER_QUERY = 200

Place = tuple[str, str]  # conversation id, user id
Part = tuple[str, str, int]  # a place, and its read position


@dataclass(frozen=True, slots=True)
class ConversationNews:
    """What a participant's list of conversations shows of one; `unread` by user id."""

    conversation_id: str
    title: str
    last_sequence: int
    unread: dict[str, int] = field(default_factory=dict)


def conversation_news(
    conversation_ids: Collection[str], user_ids: Collection[str]
) -> list[ConversationNews]:
    """What there is to tell those of `user_ids` who have a part in one of the conversations.

    A few queries for all together. Conversations that are gone are left out.
    """
    found: list[ConversationNews] = []
    ids = sorted(conversation_ids)
    for start in range(0, len(ids), _VALUES_PER_QUERY):
        found += _news(ids[start : start + _VALUES_PER_QUERY], user_ids)
    return found


def _news(ids: Sequence[str], user_ids: Collection[str]) -> list[ConversationNews]:
    rows = (
        Conversation.objects.filter(pk__in=ids)
        .order_by()
        .values_list("pk", "title", "last_sequence")
    )
    news = {str(pk): ConversationNews(str(pk), title, last) for pk, title, last in rows}
    if user_ids:
        last_sequences = {key: one.last_sequence for key, one in news.items()}
        for place, count in _unread(last_sequences, _parts(ids, user_ids)).items():
            news[place[0]].unread[place[1]] = count
    return list(news.values())


def _parts(ids: Sequence[str], user_ids: Collection[str]) -> list[Part]:
    """The parts that these users have in these conversations."""
    conversations = [UUID(one) for one in ids]
    if len(user_ids) <= _VALUES_PER_QUERY:
        rows = _PARTS_OF.rows(conversations, [UUID(one) for one in sorted(user_ids)])
    else:
        rows = _PARTS.rows(conversations)
    parts = [(as_uuid(conversation), as_uuid(user), read) for conversation, user, read in rows]
    return [part for part in parts if part[1] in user_ids]


def unread_by_part(
    last_sequences: dict[UUID, int], parts: Iterable[Participant]
) -> dict[tuple[UUID, UUID], int]:
    """Unread messages by (conversation, user), of those parts whose conversation is known."""
    found = _unread(
        {str(key): last for key, last in last_sequences.items()},
        [(str(one.conversation_id), str(one.user_id), one.last_read_sequence) for one in parts],
    )
    return {
        (UUID(conversation_id), UUID(user_id)): count
        for (conversation_id, user_id), count in found.items()
    }


def _unread(last_sequences: dict[str, int], parts: Iterable[Part]) -> dict[Place, int]:
    above = {
        (conversation_id, user_id): read
        for conversation_id, user_id, read in parts
        if conversation_id in last_sequences
    }
    own = _own_within(
        {
            key: (read, last_sequences[key[0]])
            for key, read in above.items()
            if read < last_sequences[key[0]]
        }
    )
    return {
        key: max(0, last_sequences[key[0]] - read - own.get(key, 0)) for key, read in above.items()
    }


@dataclass(frozen=True, slots=True)
class _Counted:
    """So many messages behind `read`, up to `last`, are the user's own."""

    read: int
    last: int
    own: int


# Messages neither change nor go: what was counted once is counted on from there, or who writes
# without ever reading would have all that they wrote counted each time.
_counted: dict[Place, _Counted] = {}


def _own_within(spans: dict[Place, tuple[int, int]]) -> dict[Place, int]:
    """How many messages of a span (behind a read position, up to a sequence) were sent by the
    participant."""
    known = {place: _known(place, *span) for place, span in spans.items()}
    more = _count(
        [
            (*place, known[place].last, last)
            for place, (_, last) in spans.items()
            if known[place].last < last
        ]
    )
    if len(_counted) > _MAX_COUNTED:
        _counted.clear()
    counts = {place: one.own + more.get(place, 0) for place, one in known.items()}
    for place, (read, last) in spans.items():
        _counted[place] = _Counted(read, last, counts[place])
    return counts


def _known(place: Place, read: int, last: int) -> _Counted:
    """What was counted of that span before."""
    before = _counted.get(place)
    if before is None or before.read != read or before.last > last:
        return _Counted(read, read, 0)
    return before


def _count(spans: Sequence[tuple[str, str, int, int]]) -> dict[Place, int]:
    counts: dict[Place, int] = {}
    for start in range(0, len(spans), _SPANS_PER_QUERY):
        conversations, users, above, up_to = zip(
            *spans[start : start + _SPANS_PER_QUERY], strict=True
        )
        rows = _OWN.rows(
            [UUID(one) for one in conversations],
            [UUID(one) for one in users],
            list(above),
            list(up_to),
        )
        counts |= {(as_uuid(conversation), as_uuid(user)): own for conversation, user, own in rows}
    return counts


def _own(
    conversations: list[UUID], users: list[UUID], above: list[int], up_to: list[int]
) -> QuerySet[Message, tuple[Any, ...]]:
    spans = (
        Q(conversation_id=conversation, sender_id=user, sequence__gt=first, sequence__lte=last)
        for conversation, user, first, last in zip(conversations, users, above, up_to, strict=True)
    )
    return (
        Message.objects.filter(reduce(or_, spans))
        .order_by()
        .values_list("conversation_id", "sender_id")
        .annotate(own=Count("*"))
    )


def _part_rows(**where: list[UUID]) -> QuerySet[Participant, tuple[Any, ...]]:
    columns = ("conversation_id", "user_id", "last_read_sequence")
    return Participant.objects.filter(**where).order_by().values_list(*columns)


_PARTS = PreparedSelect(lambda ids: _part_rows(conversation_id__in=ids))
_PARTS_OF = PreparedSelect(
    lambda ids, users: _part_rows(conversation_id__in=ids, user_id__in=users)
)
_OWN = PreparedSelect(_own)

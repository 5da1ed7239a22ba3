"""How much of a conversation its participants have not read.

Unread are the messages above the read position that the user did not send.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from sessions_app.models import Conversation, Message, Participant

# Read positions in one query: each is a branch of its condition, and databases bound its depth.
_POSITIONS_PER_QUERY = 200
# Values in one query's list: databases bound its variables.
_VALUES_PER_QUERY = 200


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
    rows = list(
        Conversation.objects.filter(pk__in=ids)
        .order_by()
        .values_list("pk", "title", "last_sequence")
    )
    news = {pk: ConversationNews(str(pk), title, last) for pk, title, last in rows}
    if user_ids:
        last_sequences = {pk: last for pk, _, last in rows}
        counts = unread_by_part(last_sequences, _parts(ids, user_ids))
        for (conversation_id, user_id), count in counts.items():
            news[conversation_id].unread[str(user_id)] = count
    return list(news.values())


def _parts(ids: Sequence[str], user_ids: Collection[str]) -> list[Participant]:
    """The parts that these users have in these conversations."""
    parts: QuerySet[Participant] = Participant.objects.filter(conversation_id__in=ids).order_by()
    if len(user_ids) <= _VALUES_PER_QUERY:
        return list(parts.filter(user_id__in=sorted(user_ids)))
    return [part for part in parts if str(part.user_id) in user_ids]


def unread_by_part(
    last_sequences: dict[UUID, int], parts: Iterable[Participant]
) -> dict[tuple[UUID, UUID], int]:
    """Unread messages by (conversation, user), of those parts whose conversation is known."""
    above = {
        (part.conversation_id, part.user_id): part
        for part in parts
        if part.conversation_id in last_sequences
    }
    own = _own_above(
        [
            part
            for part in above.values()
            if part.last_read_sequence < last_sequences[part.conversation_id]
        ]
    )
    return {
        key: max(0, last_sequences[key[0]] - part.last_read_sequence - own.get(key, 0))
        for key, part in above.items()
    }


def _own_above(parts: Sequence[Participant]) -> dict[tuple[UUID, UUID], int]:
    """How many messages above their read position the participants sent themselves."""
    counts: dict[tuple[UUID, UUID], int] = {}
    for start in range(0, len(parts), _POSITIONS_PER_QUERY):
        positions = (
            Q(
                conversation_id=part.conversation_id,
                sender_id=part.user_id,
                sequence__gt=part.last_read_sequence,
            )
            for part in parts[start : start + _POSITIONS_PER_QUERY]
        )
        rows = (
            Message.objects.filter(reduce(or_, positions))
            .order_by()
            .values_list("conversation_id", "sender_id")
            .annotate(Count("pk"))
        )
        counts |= {(conversation, sender): count for conversation, sender, count in rows}
    return counts

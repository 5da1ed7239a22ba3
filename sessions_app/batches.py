"""One batch of the journal: how its messages get their places, and what is written for them.

Sequences are given out by writing them. A batch's messages get last+1 … last+n of their
conversation; the unique constraint (conversation, sequence) is the arbiter among nodes, and who
loses the race reads the new last and tries again. `Conversation.last_sequence` is moved behind the
messages, forward only, and is only a cache of the greatest sequence stored.
A second constraint (conversation, sender, client_message_id) makes a repeat harmless.

So it is right too where no transaction holds the writes together (MongoDB), and a batch may be cut
off anywhere: docs/adr/0030-writes-without-transactions.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError
from django.db.models import Max, QuerySet

from ovara.errors import NotFound, Overloaded
from ovara.ids import key_of, new_text_id
from ovara.pairs import few_by_few
from ovara.prepared import PreparedSelect, PreparedUpdate, as_uuid
from ovara.prepared_insert import PreparedInsert
from ovara.times import now, wire
from ovara.transactions import in_batch
from sessions_app.models import Conversation, Message
from sessions_app.records import MessageRecord, UserRef, records_of
from sessions_app.selectors import participants_among

# Races lost against other writers before the caller is told to try again.
MAX_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has its place. Its values were checked.

    Its `id` tells whether a stored message is this very one, written by an attempt that was cut
    off, or somebody's earlier one.
    """

    conversation_id: str
    content: str
    role: str
    sender: UserRef | None
    client_message_id: str
    metadata: dict[str, Any] = field(default_factory=dict)
    require_participant: bool = True
    id: str = field(default_factory=new_text_id)

    @property
    def repeat_key(self) -> tuple[str, str | None, str]:
        return self.conversation_id, sender_id_of(self), self.client_message_id


def sender_id_of(item: Draft | MessageRecord) -> str | None:
    """The id of who sent it; None for server code's own."""
    return None if item.sender is None else item.sender.id


@dataclass(frozen=True, slots=True)
class Appended:
    """A stored message; `duplicate`: it had been stored before this call."""

    message: MessageRecord
    duplicate: bool


def write_batch(drafts: Sequence[Draft]) -> list[Appended | Exception]:
    """Store `drafts` in one transaction; for each its message or its own error, in order.

    The first attempt is an optimist: it trusts the cached last sequences and that no
    `client_message_id` is a repeat. The unique constraints say where it is wrong, and the next
    attempt looks first. What stands before the wrong one is taken back by the transaction; where
    there is none, the next attempt knows it by its id.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return in_batch(_BatchWriter(drafts, optimistic=attempt == 0).write)
        except IntegrityError:
            # A repeat, or another process was first, or a row was deleted meanwhile.
            continue
    if len(drafts) > 1:
        # Whichever it is that can't be stored: alone it fails alone.
        return [result for draft in drafts for result in write_batch([draft])]
    return [Overloaded("Too many writers in this conversation. Nothing was stored; try again.")]


class _BatchWriter:
    """One attempt at one batch."""

    def __init__(self, drafts: Sequence[Draft], *, optimistic: bool) -> None:
        self.drafts = drafts
        self.optimistic = optimistic
        self.moment = now()
        self.conversation_ids = sorted({draft.conversation_id for draft in drafts})
        self.conversation_keys = [key_of(text) for text in self.conversation_ids]

    def write(self) -> list[Appended | Exception]:
        cached = self._cached_sequences()
        stored = {} if self.optimistic else self._stored_before()
        parts = self._participants()
        last = {key: self._last_sequence(key, value) for key, value in cached.items()}
        results: list[Appended | Exception] = []
        fresh: list[MessageRecord] = []
        created_at = wire(self.moment)
        for draft in self.drafts:
            if draft.conversation_id not in last or not self._allowed(draft, parts):
                results.append(NotFound())
            elif (before := stored.get(draft.repeat_key)) is not None:
                results.append(Appended(before, duplicate=before.id != draft.id))
            else:
                last[draft.conversation_id] += 1
                record = _record(draft, last[draft.conversation_id], created_at)
                fresh.append(record)
                stored[draft.repeat_key] = record
                results.append(Appended(record, duplicate=False))
        # By conversation: two nodes that wait for each other's rows do it in the same order.
        self._insert(sorted(fresh, key=lambda record: (record.conversation_id, record.sequence)))
        self._move_caches(cached, last)
        return results

    def _cached_sequences(self) -> dict[str, int]:
        rows = _LAST_SEQUENCES.rows(self.conversation_keys)
        return {as_uuid(pk): last for pk, last in rows}

    def _last_sequence(self, conversation_id: str, cached: int) -> int:
        """The greatest sequence stored; the cache may be behind (a write cut in half, a race)."""
        if self.optimistic:
            return cached
        above = Message.objects.filter(conversation_id=conversation_id, sequence__gt=cached)
        greatest: int | None = above.aggregate(Max("sequence"))["sequence__max"]
        return cached if greatest is None else greatest

    def _stored_before(self) -> dict[tuple[str, str | None, str], MessageRecord]:
        names = {(draft.conversation_id, draft.client_message_id) for draft in self.drafts}
        rows = [
            row
            for conversations, ids in few_by_few(names)
            for row in Message.objects.filter(
                conversation_id__in=conversations, client_message_id__in=ids
            ).order_by()
        ]
        return {
            # Not the record's sender: an account that is gone shows none.
            (
                record.conversation_id,
                None if row.sender_id is None else str(row.sender_id),
                record.client_message_id,
            ): record
            for row, record in zip(rows, records_of(rows), strict=True)
        }

    def _participants(self) -> set[tuple[str, str]]:
        pairs = {
            (draft.conversation_id, draft.sender.id)
            for draft in self.drafts
            if draft.sender is not None and draft.require_participant
        }
        return participants_among(pairs)

    @staticmethod
    def _allowed(draft: Draft, parts: set[tuple[str, str]]) -> bool:
        if not draft.require_participant:
            return True
        return draft.sender is not None and (draft.conversation_id, draft.sender.id) in parts

    def _insert(self, records: Sequence[MessageRecord]) -> None:
        _INSERT.run(
            [
                (
                    record.id,
                    record.conversation_id,
                    record.sequence,
                    record.role,
                    sender_id_of(record),
                    record.content,
                    record.metadata,
                    record.client_message_id,
                    record.status,
                    self.moment,
                )
                for record in records
            ]
        )

    def _move_caches(self, cached: dict[str, int], last: dict[str, int]) -> None:
        """Forward only, whoever else moves them; also where they were behind what is stored."""
        _MOVE_CACHE.run(
            [
                (key_of(conversation_id), sequence, self.moment)
                for conversation_id, sequence in sorted(last.items())
                if sequence > cached[conversation_id]
            ]
        )


def _move_cache(
    conversation_id: uuid.UUID, newest: int, moment: datetime
) -> tuple[QuerySet[Conversation], dict[str, Any]]:
    rows = Conversation.objects.filter(pk=conversation_id, last_sequence__lt=newest)
    return rows, {"last_sequence": newest, "updated_at": moment}


_LAST_SEQUENCES = PreparedSelect(
    lambda ids: (
        Conversation.objects.filter(pk__in=ids).order_by().values_list("pk", "last_sequence")
    )
)
_MOVE_CACHE = PreparedUpdate(_move_cache)
_INSERT = PreparedInsert(
    Message,
    "id",
    "conversation_id",
    "sequence",
    "role",
    "sender_id",
    "content",
    "metadata",
    "client_message_id",
    "status",
    "created_at",
)


def _record(draft: Draft, sequence: int, created_at: str) -> MessageRecord:
    return MessageRecord(
        id=draft.id,
        conversation_id=draft.conversation_id,
        sequence=sequence,
        role=draft.role,
        sender=draft.sender,
        content=draft.content,
        metadata=draft.metadata,
        client_message_id=draft.client_message_id,
        status="complete",
        created_at=created_at,
    )

"""What clients note down as they go: how far a user has read, and what a client was doing.

Both come often, and many at a time, so they are written like messages: by group commit. A database
that takes no writes holds up those who write, and nobody who reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from ovara import background
from ovara.errors import NotFound
from ovara.group_commit import GroupCommit
from ovara.pairs import few_by_few
from ovara.times import now
from ovara.transactions import in_batch
from ovara.turns import in_turn
from ovara.write_health import write_health
from sessions_app.models import Conversation, Participant, Session
from sessions_app.records import UserRef
from sessions_app.sessions import session_end
from sessions_app.signals import read_moved, session_state_changed
from sessions_app.validation import check_json_object

Place = tuple[str, str]  # conversation id, user id


@dataclass(frozen=True, slots=True)
class MoveRead:
    """A user has read a conversation up to `sequence`."""

    conversation_id: str
    user_id: str
    sequence: int

    @property
    def place(self) -> Place:
        return self.conversation_id, self.user_id


@dataclass(frozen=True, slots=True)
class ReplaceState:
    """What the client of a session is doing now."""

    session_id: str
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """A read position; `moved`: this call moved it."""

    sequence: int
    moved: bool


Note = MoveRead | ReplaceState


async def read_position_move(
    *, conversation_id: str, user: UserRef, sequence: int, origin: str | None = None
) -> int:
    """Move a participant's read position: forward only, and never past the newest message.

    Args:
        origin: the connection that asked, which hears of it by its acknowledgement.

    Returns:
        The read position now.

    Raises:
        NotFound: the user has no part in the conversation.
        Overloaded: nothing was stored; try again.
    """
    note = MoveRead(conversation_id, user.id, sequence)
    return await background.on_main_loop(_move_and_tell(note, user, origin))


async def _move_and_tell(note: MoveRead, user: UserRef, origin: str | None) -> int:
    position = await notes.commit(note)
    assert position is not None
    if position.moved:
        read_moved.send(
            None,
            conversation_id=note.conversation_id,
            user=user,
            sequence=position.sequence,
            origin=origin,
        )
    return position.sequence


async def session_state_replace(
    *, session_id: str, client_id: str, state: dict[str, Any], origin: str | None = None
) -> None:
    """Replace what the client was doing.

    Raises:
        Invalid, TooLarge: `state` is not acceptable.
        NotFound: the session has expired meanwhile.
        Overloaded: nothing was stored; try again.
    """
    check_json_object(state, "state")
    note = ReplaceState(session_id, state)
    await background.on_main_loop(_replace_and_tell(note, client_id, origin))


async def _replace_and_tell(note: ReplaceState, client_id: str, origin: str | None) -> None:
    await notes.commit(note)
    session_state_changed.send(None, client_id=client_id, state=note.state, origin=origin)


def write_batch(batch: Sequence[Note]) -> list[Position | Exception | None]:
    """Write notes in one transaction; for each its result or its own error, in order.

    Each of its writes stands for itself, so nothing is wrong where there is no transaction.
    """
    return in_batch(lambda: _write(batch))


def _write(batch: Sequence[Note]) -> list[Position | Exception | None]:
    results: list[Position | Exception | None] = [None] * len(batch)
    moves = [(place, note) for place, note in enumerate(batch) if isinstance(note, MoveRead)]
    if moves:
        found = _write_moves([note for _, note in moves])
        for (place, _), result in zip(moves, found, strict=True):
            results[place] = result
    missing = _write_states([note for note in batch if isinstance(note, ReplaceState)])
    for place, note in enumerate(batch):
        if isinstance(note, ReplaceState) and note.session_id in missing:
            results[place] = NotFound("This session has expired: connect again.")
    return results


def _write_moves(moves: Sequence[MoveRead]) -> list[Position | Exception]:
    stored = _positions(moves)
    ids = {note.conversation_id for note in moves}
    rows = Conversation.objects.filter(pk__in=ids).order_by().values_list("pk", "last_sequence")
    newest = {str(pk): last for pk, last in rows}
    positions = dict(stored)
    results: list[Position | Exception] = []
    for note in moves:
        if note.place not in positions:
            results.append(NotFound())
            continue
        before = positions[note.place]
        after = max(before, min(note.sequence, newest.get(note.conversation_id, 0)))
        positions[note.place] = after
        results.append(Position(after, moved=after > before))
    for place, sequence in positions.items():
        ahead = _part(place).filter(last_read_sequence__lt=sequence)
        if sequence > stored[place] and not ahead.update(last_read_sequence=sequence):
            # Another node has moved it there, or further.
            now_at = _part(place).values_list("last_read_sequence", flat=True).first()
            lost = NotFound() if now_at is None else Position(now_at, moved=False)
            results = [
                lost if note.place == place else result
                for note, result in zip(moves, results, strict=True)
            ]
    return results


def _positions(moves: Sequence[MoveRead]) -> dict[Place, int]:
    wanted = {note.place for note in moves}
    found: dict[Place, int] = {}
    for conversations, users in few_by_few(wanted):
        rows = Participant.objects.filter(conversation_id__in=conversations, user_id__in=users)
        for row in rows.order_by().values_list("conversation_id", "user_id", "last_read_sequence"):
            found[str(row[0]), str(row[1])] = row[2]
    return {place: position for place, position in found.items() if place in wanted}


def _part(place: Place) -> QuerySet[Participant]:
    return Participant.objects.filter(conversation_id=place[0], user_id=place[1])


def _write_states(replacements: Sequence[ReplaceState]) -> set[str]:
    """Write the newest state of each session; the sessions that are not there."""
    newest = {note.session_id: note.state for note in replacements}
    moment = now()
    used = {"last_active_at": moment, "expires_at": session_end(moment)}
    return {
        session_id
        for session_id, state in newest.items()
        if not Session.objects.filter(pk=session_id).update(state=state, **used)
    }


notes: GroupCommit[Note, Position | None] = GroupCommit(
    "notes", in_turn(write_batch), health=write_health
)

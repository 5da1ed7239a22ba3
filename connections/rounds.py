"""Fan-out to a large audience: a few members in each turn of the loop, and to each in one write.

A publication to a thousand members takes milliseconds. Written at once it would keep the loop from
everything else, and what is published meanwhile would need as many writes again. So a round goes
from member to member, again and again while there is something, and writes to each what was
published since it was there the last time. What comes while it is under way goes along from where
it is, and is through when it is there again.

What a member is sent by itself meanwhile stays in order, and so does its leaving: first it catches
up. Between two conversations there is no order.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connections import metrics
from connections.frame_outbox import FrameOutbox, Turn
from connections.publication import Publication
from ovara.server.frames import text_frame

if TYPE_CHECKING:
    from connections.hub import ConnectionInfo

# Smaller audiences are written to at once.
LARGE_AUDIENCE = 32
# Members in one turn of the loop: some 0.3 ms.
VISITS_A_TURN = 64
# More than this is not written in one piece, but put into the outbox, which is bounded.
WHOLE_BYTES = 65_536
# Who publishes more than this while a round is under way waits until everybody has it.
MOST_BYTES = 1_048_576

_EVER = sys.maxsize

Member = tuple["ConnectionInfo", FrameOutbox]


def round_of(conversation_id: str, members: Sequence[ConnectionInfo]) -> Round | None:
    """The round that brings publications to these members, who are all; None where that is no use:
    they are few, or their server takes no finished frames."""
    if (under_way := _under_way(conversation_id)) is not None:
        return under_way
    if len(members) < LARGE_AUDIENCE:
        return None
    found = [(one, one.outbox) for one in members if isinstance(one.outbox, FrameOutbox)]
    if len(found) < len(members):
        return None
    return Round(conversation_id, found, Turn.of_running_loop())


def _under_way(conversation_id: str) -> Round | None:
    current = Turn.here()
    return None if current is None else current.rounds.get(conversation_id)


def settle(conversation_id: str) -> None:
    """Bring what is on its way in a conversation to all, before somebody joins them."""
    if (under_way := _under_way(conversation_id)) is not None:
        under_way.settle()


def catch_up(conversation_id: str, connection_id: str) -> None:
    """Bring what is on its way in a conversation to one of its members, before it leaves."""
    if (under_way := _under_way(conversation_id)) is not None:
        under_way.catch_up(connection_id)


@dataclass(slots=True, eq=False)
class _Item:
    """A publication under way. `ends_at`: the visit before which everybody has it."""

    number: int
    publication: Publication
    frame: bytes
    excluded: Collection[str]
    began_at: float
    ends_at: int

    def is_for(self, connection: ConnectionInfo, floor: int) -> bool:
        is_known = 0 < self.publication.sequence <= floor
        return not is_known and connection.connection_id not in self.excluded


class Round:
    """Brings publications of one conversation to its members.

    Args:
        conversation_id: which.
        members: who they are now. Whoever joins meanwhile is none of them, and `settle` comes
            before; who leaves is skipped.
        turn: of their loop.
    """

    def __init__(self, conversation_id: str, members: Sequence[Member], turn: Turn) -> None:
        self._conversation_id = conversation_id
        self._members = members
        self._turn = turn
        # Under way, in the order in which they began.
        self._items: deque[_Item] = deque()
        self._count = 0  # of all items so far
        self._visits = 0
        # connection_id → its place in the round; made when somebody has to catch up
        self._places: dict[str, int] = {}
        # connection_id → the newest item that it got before its turn
        self._ahead: dict[str, int] = {}
        # Of the items together: what is sent, once it is known; the lowest sequence, and who may
        # get something else.
        self._frames: bytes | None = None
        self._bytes = 0
        self._lowest = _EVER
        self._apart: set[str] = set()
        turn.rounds[conversation_id] = self
        turn.loop.call_soon(self._go)

    def add(self, item: Publication, excluded: Collection[str]) -> None:
        """Bring `item` to all members but the connections of `excluded`."""
        self._count += 1
        ends_at = self._visits + len(self._members)
        frame, began_at = text_frame(item.text), time.perf_counter()
        self._items.append(_Item(self._count, item, frame, excluded, began_at, ends_at))
        self._bytes += len(frame)
        self._frames = None
        if self._bytes > MOST_BYTES:
            self.settle()

    def catch_up(self, connection_id: str) -> None:
        """Put into a member's outbox what the round would bring in a moment."""
        if not self._places:
            self._places = {
                member.connection_id: place for place, (member, _) in enumerate(self._members)
            }
        place = self._places.get(connection_id)
        if place is None:
            return
        late = [item for item in self._items if self._comes_by(place, item)]
        if late:
            connection, outbox = self._members[place]
            try:
                self._put(connection, outbox, late)
            finally:
                self._ahead[connection_id] = late[-1].number
                self._apart.add(connection_id)

    def settle(self) -> None:
        """Bring everything to everybody now."""
        self._visit(_EVER)

    def _go(self) -> None:
        try:
            self._visit(VISITS_A_TURN)
        finally:
            if self._items:
                self._turn.loop.call_soon(self._go)

    def _visit(self, count: int) -> None:
        last = self._visits + count
        while self._items and self._visits < last:
            self._write(min(last, self._items[0].ends_at))
            while self._items and self._items[0].ends_at <= self._visits:
                self._end(self._items.popleft())
        if not self._items and self._turn.rounds.get(self._conversation_id) is self:
            del self._turn.rounds[self._conversation_id]

    def _end(self, item: _Item) -> None:
        self._bytes -= len(item.frame)
        self._frames = None
        if item.publication.sequence:
            metrics.FANOUT_SECONDS.observe(time.perf_counter() - item.began_at)

    def _write(self, stop: int) -> None:
        """Visit the next members, up to that visit; fewer where something is added on the way."""
        frames = self._frames
        if frames is None:
            frames = self._frames = self._summarize()
        is_whole = self._bytes <= WHOLE_BYTES
        members, size, conversation_id = self._members, len(self._members), self._conversation_id
        lowest, apart, items = self._lowest, self._apart, list(self._items)
        written = 0
        # The hottest loop of all: no look-up that can be made once, no call that can be spared.
        for visit in range(self._visits, stop):
            connection, outbox = members[visit % size]
            self._visits = visit + 1
            if (
                is_whole
                and connection.joined.get(conversation_id, _EVER) < lowest
                and (not apart or connection.connection_id not in apart)
                and outbox.write_now(frames)
            ):
                written += 1
            else:
                self._put(connection, outbox, items)
            if self._frames is not frames:
                break
        for item in items:
            metrics.FRAMES_SENT.counts[item.publication.frame_type] += written

    def _put(self, connection: ConnectionInfo, outbox: FrameOutbox, items: list[_Item]) -> None:
        """Put those of `items` into an outbox that are for this member, and new to it."""
        floor = connection.joined.get(self._conversation_id)
        newest = self._ahead.pop(connection.connection_id, 0)
        if floor is None:
            # It has left.
            return
        for item in items:
            if item.number > newest and item.is_for(connection, floor):
                outbox.put_frame(item.frame, item.publication.droppable)
                metrics.FRAMES_SENT.counts[item.publication.frame_type] += 1

    def _comes_by(self, place: int, item: _Item) -> bool:
        """Whether the round has still to come by there with `item`."""
        size = len(self._members)
        first = item.ends_at - size
        return first + (place - first) % size >= self._visits

    def _summarize(self) -> bytes:
        sequences = [one.publication.sequence for one in self._items if one.publication.sequence]
        self._lowest = min(sequences, default=_EVER)
        self._apart = set(self._ahead).union(*(item.excluded for item in self._items))
        return b"".join(item.frame for item in self._items) if self._bytes <= WHOLE_BYTES else b""

"""Fan-out to a large audience against what it stands for: everybody gets everything at once.

A few operations in any order, and any number of turns of the loop between them: what each member's
socket got is compared with a plain list to which everything was appended as it was published.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections import frame_outbox, rounds
from connections.frame_outbox import FrameOutbox, Turn
from connections.hub import ConnectionInfo, Hub
from connections.publication import publication
from ovara.server.frames import text_frame
from sessions_app.records import UserRef
from tests.support.in_process import until

pytestmark = pytest.mark.storeless

HERE = "01a204ff-b87e-7596-8aa3-a61245b618c3"
MEMBERS = rounds.LARGE_AUDIENCE + 8
# So that a round takes several turns.
VISITS_A_TURN = 7
LINGER_SECONDS = 0.002
MAX_OUTBOX_BYTES = 1_000_000


class Socket:
    """A member's end: the frames that came, one by one, and how many writes they took."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.writes = 0
        self.on_write: Callable[[], object] = lambda: None
        self.is_writable = True
        self.writing_resumed: Callable[[], object] | None = None

    def take_over(self, handler: Any, /) -> None:
        raise AssertionError("no outbox does that")

    def write_frame(self, frame: bytes, /) -> None:
        self.writes += 1
        self.on_write()
        while frame:
            size, head = frame[1], 2
            if size == 126:
                size, head = int.from_bytes(frame[2:4], "big"), 4
            self.frames.append(frame[: head + size])
            frame = frame[head + size :]

    def buffered_bytes(self) -> int:
        return 0

    def close(self, code: int, reason: str, /) -> None:
        self.frames.append(str(code).encode())

    def set_writable(self, is_writable: bool) -> None:
        self.is_writable = is_writable
        if is_writable and self.writing_resumed is not None:
            self.writing_resumed()


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Room:
    """A conversation of many, and what each member should have got."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.sequence = 0
        self.count = 0
        self.sockets = [Socket() for _ in range(MEMBERS)]
        self.expected: list[list[bytes]] = [[] for _ in range(MEMBERS)]
        # What was on its way to one who left: it may have come, or not.
        self.optional: list[set[bytes]] = [set() for _ in range(MEMBERS)]
        self.members: list[ConnectionInfo] = []
        for number, socket in enumerate(self.sockets):
            outbox = FrameOutbox(socket, f"c{number}", MAX_OUTBOX_BYTES, self.overflow)
            # Two connections for each user.
            user = UserRef(f"u{number // 2}", "name")
            connection = ConnectionInfo(f"c{number}", outbox, user=user, authenticated=True)
            self.members.append(connection)
            self.hub.add(connection)
            self.join(number)

    def overflow(self, connection_id: str) -> None:
        raise AssertionError(connection_id)

    def text(self, size: int = 0) -> dict[str, Any]:
        self.count += 1
        return {"type": "message", "n": self.count, "text": "x" * size}

    def publish(self, *, stored: bool, size: int, but: int | None, but_user: int | None) -> None:
        self.sequence += stored
        item = publication(
            *("conversation", HERE, self.text(size)),
            exclude=None if but is None else f"c{but}",
            exclude_user=None if but_user is None else f"u{but_user // 2}",
            sequence=self.sequence if stored else 0,
        )
        for number, member in enumerate(self.members):
            is_excluded = number == but or (but_user is not None and number // 2 == but_user // 2)
            if HERE in member.joined and HERE not in member.joining and not is_excluded:
                self.expected[number].append(text_frame(item.text))
        self.hub.deliver(item)

    def send(self, number: int) -> None:
        """An answer to one of them."""
        item = publication("connection", f"c{number}", self.text())
        self.expected[number].append(text_frame(item.text))
        self.hub.deliver(item)

    def send_line(self, number: int) -> None:
        """A line of their list to a user."""
        item = publication("user", f"u{number // 2}", self.text())
        for other in (number - number % 2, number - number % 2 + 1):
            self.expected[other].append(text_frame(item.text))
        self.hub.deliver_line(item, HERE)

    def begin(self, number: int) -> None:
        """Somebody joins, perhaps again; what is published from now on waits."""
        self.hub.begin_join(self.members[number], HERE)

    def finish(self, number: int, *, fails: bool = False) -> None:
        """The answer to that, and what waited: all that the answer does not tell of itself."""
        member = self.members[number]
        if HERE not in member.joining:
            return
        if fails:
            waited = self.hub.abandon_join(member, HERE)
        else:
            waited = self.hub.finish_join(member, HERE, self.sequence) or []
        for item in waited:
            self.expected[number].append(text_frame(item.text))
            member.outbox.put(item.text)

    def join(self, number: int) -> None:
        self.begin(number)
        self.finish(number)

    def leave(self, number: int) -> None:
        came = len(self.sockets[number].frames)
        self.optional[number].update(self.expected[number][came:])
        self.hub.leave(self.members[number], HERE)

    async def rejoin(self, number: int, turns: int, fails: bool) -> None:
        """As it goes mostly: something is published before the answer, and behind it."""
        self.begin(number)
        self.publish(stored=True, size=0, but=None, but_user=None)
        await turns_of_the_loop(turns)
        self.finish(number, fails=fails)
        self.publish(stored=True, size=0, but=None, but_user=None)

    async def play(self, steps: list[tuple[Any, ...]]) -> None:
        for kind, *details in steps:
            if kind == "turns":
                await turns_of_the_loop(details[0])
            elif kind == "rejoin":
                await self.rejoin(*details)
            elif kind == "writable":
                self.sockets[details[0]].set_writable(details[1])
            else:
                getattr(self, kind)(*details[:-1], **details[-1])
        for socket in self.sockets:
            socket.set_writable(True)
        turn = Turn.of_running_loop()
        await until(lambda: not (turn.rounds or turn.waiting or turn.lingering))

    def check(self) -> None:
        for socket, expected, optional in zip(
            self.sockets, self.expected, self.optional, strict=True
        ):
            came = set(socket.frames)
            assert socket.frames == [
                frame for frame in expected if frame in came or frame not in optional
            ]


# The same few come and go and are written to, so that it meets.
NUMBERS = st.sampled_from([0, 1, VISITS_A_TURN, 20, MEMBERS - 1])
NOBODY_OR_ONE = st.none() | NUMBERS
STEPS = st.one_of(
    st.tuples(
        st.just("publish"),
        st.fixed_dictionaries(
            {
                "stored": st.booleans(),
                "size": st.sampled_from([0, 0, 0, rounds.WHOLE_BYTES // 2]),
                "but": NOBODY_OR_ONE,
                "but_user": st.none() | st.none() | NUMBERS,
            }
        ),
    ),
    st.tuples(st.sampled_from(["send", "send_line", "begin", "leave"]), NUMBERS, st.just({})),
    st.tuples(st.just("finish"), NUMBERS, st.fixed_dictionaries({"fails": st.booleans()})),
    st.tuples(st.just("rejoin"), NUMBERS, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("writable"), NUMBERS, st.booleans()),
    st.tuples(st.just("turns"), st.integers(1, 12)),
)


@pytest.fixture(autouse=True, scope="module")
def small_steps() -> Iterator[None]:
    with (
        patch.object(rounds, "VISITS_A_TURN", VISITS_A_TURN),
        patch.object(frame_outbox, "LINGER_SECONDS", LINGER_SECONDS),
    ):
        yield


@settings(
    max_examples=300,
    derandomize=bool(os.environ.get("CI")),
    deadline=timedelta(seconds=20),
    database=None,
)
@given(st.lists(STEPS, min_size=10, max_size=40))
def test_everybody_gets_everything_in_the_order_in_which_it_was_published(
    steps: list[tuple[Any, ...]],
) -> None:
    async def scenario() -> None:
        room = Room()
        await room.play(steps)
        room.check()

    asyncio.run(scenario())


def publish(room: Room, size: int = 0) -> None:
    room.publish(stored=True, size=size, but=None, but_user=None)


async def test_what_comes_while_it_goes_round_leaves_in_the_same_writes() -> None:
    room = Room()
    publish(room)
    publish(room)
    await turns_of_the_loop(2)
    publish(room)
    await room.play([])
    room.check()
    # The first few got the third one in the second round, all others with the first two.
    assert {socket.writes for socket in room.sockets} == {1, 2}
    assert sum(socket.writes for socket in room.sockets) <= MEMBERS + 2 * VISITS_A_TURN


async def test_it_leaves_the_loop_to_others_in_between() -> None:
    room = Room()
    publish(room)
    came = 0
    for _ in range(MEMBERS):
        await asyncio.sleep(0)
        now = sum(bool(socket.frames) for socket in room.sockets)
        assert now - came <= VISITS_A_TURN
        came = now
    assert came == MEMBERS


async def test_what_is_published_from_within_reaches_all() -> None:
    """A write may tell that somebody is gone, and that is told to the others."""
    room = Room()

    def publish_once() -> None:
        room.sockets[3].on_write = lambda: None
        publish(room)

    room.sockets[3].on_write = publish_once
    publish(room)
    await room.play([])
    room.check()
    assert room.count == 2


async def test_the_outbox_of_a_slow_member_stays_bounded() -> None:
    room = Room()
    slow: list[str] = []
    outbox = room.members[5].outbox
    outbox._on_overflow = slow.append
    room.sockets[5].on_write = lambda: room.sockets[5].set_writable(False)
    for _ in range(2 * MAX_OUTBOX_BYTES // rounds.WHOLE_BYTES):
        publish(room, rounds.WHOLE_BYTES - 1_000)
    await turns_of_the_loop(MEMBERS)
    assert slow[0] == "c5"
    assert sum(map(len, room.sockets[5].frames)) <= rounds.WHOLE_BYTES


async def test_a_farewell_comes_behind_what_was_published_before_it() -> None:
    room = Room()
    publish(room)
    room.members[30].outbox.close("farewell", 4001, "", discard=False)
    assert room.sockets[30].frames == [*room.expected[30], text_frame("farewell"), b"4001"]


async def test_a_small_audience_is_written_to_at_the_end_of_the_turn() -> None:
    room = Room()
    for number in range(rounds.LARGE_AUDIENCE - 1, MEMBERS):
        room.leave(number)
    publish(room)
    await turns_of_the_loop(1)
    assert [len(socket.frames) for socket in room.sockets[: rounds.LARGE_AUDIENCE - 1]] == [1] * (
        rounds.LARGE_AUDIENCE - 1
    )


async def test_a_member_that_catches_up_may_begin_another_round() -> None:
    """It reads too slowly, is sent away, and that is told in another large conversation."""
    room, elsewhere = Room(), "01a204ff-b87e-7596-8aa3-a61245b618c4"
    for member in room.members:
        room.hub.begin_join(member, elsewhere)
        room.hub.finish_join(member, elsewhere, 0)
    told = publication("conversation", elsewhere, {"type": "typing"})
    outbox = room.members[5].outbox
    outbox._max_bytes, outbox._on_overflow = 10, lambda _: room.hub.deliver(told)
    room.sockets[5].set_writable(False)
    publish(room)
    outbox.put("an answer")
    await turns_of_the_loop(2 * MEMBERS)
    others = [socket for number, socket in enumerate(room.sockets) if number != 5]
    assert all(text_frame(told.text) in socket.frames for socket in others)


async def test_who_is_ended_by_what_comes_before_its_join_joins_nothing() -> None:
    """It reads too slowly, and what was on its way when it joined again was too much for it."""
    room = Room()
    outbox = room.members[5].outbox
    outbox._max_bytes, outbox._on_overflow = 10, room.hub.remove
    room.sockets[5].set_writable(False)
    publish(room)
    assert not room.hub.begin_join(room.members[5], HERE)
    # Nobody waits for it, and all others go on.
    publish(room)
    await room.play([])
    assert [len(socket.frames) for socket in room.sockets] == [2] * 5 + [0] + [2] * (MEMBERS - 6)
    assert room.hub.finish_join(room.members[5], HERE, 2) is None


async def test_what_goes_to_all_before_a_join_is_answered_waits_for_that_one() -> None:
    """A slow member's end, met on the way, is told to who joins as to the others."""
    room = Room()
    told = publication("conversation", HERE, {"type": "typing"})
    room.begin(0)
    slow = room.members[5].outbox

    def end(connection_id: str) -> None:
        room.hub.remove(connection_id)
        room.hub.deliver(told)

    slow._max_bytes, slow._on_overflow = 10, end
    room.sockets[5].set_writable(False)
    publish(room)
    waited = room.hub.finish_join(room.members[0], HERE, room.sequence)
    assert waited is not None
    assert [item.text for item in waited] == [told.text]

"""Fan-out to a large audience against what it stands for: everybody gets everything at once.

A few operations in any order, and any number of turns of the loop between them: what each member's
socket got is compared with a plain list to which everything was appended as it was published.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections import frame_outbox, rounds
from connections.publication import publication
from ovara.server.frames import text_frame
from tests.frames.room import HERE, MEMBERS, Room, turns_of_the_loop

pytestmark = pytest.mark.storeless

# So that a round takes several turns.
VISITS_A_TURN = 7
LINGER_SECONDS = 0.002
MOST_BYTES = 3 * rounds.WHOLE_BYTES


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
        patch.object(rounds, "MOST_BYTES", MOST_BYTES),
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
    assert {len(socket.writes) for socket in room.sockets} == {1, 2}
    assert sum(len(socket.writes) for socket in room.sockets) <= MEMBERS + 2 * VISITS_A_TURN


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
    outbox._max_bytes, outbox._on_overflow = 2 * rounds.WHOLE_BYTES, slow.append
    room.sockets[5].on_write = lambda: room.sockets[5].set_writable(False)
    for _ in range(4):
        publish(room, rounds.WHOLE_BYTES - 1_000)
    await turns_of_the_loop(MEMBERS)
    assert slow[0] == "c5"
    assert sum(map(len, room.sockets[5].frames)) <= rounds.WHOLE_BYTES


async def test_a_farewell_comes_behind_what_was_published_before_it() -> None:
    room = Room()
    publish(room)
    room.members[30].outbox.close("farewell", 4001, "", discard=False)
    assert room.sockets[30].frames == [*room.expected[30], text_frame("farewell")]
    assert room.sockets[30].writes[-1] == 4001


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


async def test_much_at_once_is_brought_to_all_before_more_is_published() -> None:
    room = Room()
    for _ in range(2 * MOST_BYTES // rounds.WHOLE_BYTES):
        publish(room, rounds.WHOLE_BYTES - 1_000)
        came = min(len(socket.frames) for socket in room.sockets)
        assert (room.count - came) * rounds.WHOLE_BYTES <= MOST_BYTES
        await turns_of_the_loop(1)
    await room.play([])
    room.check()


async def test_what_has_reached_all_is_no_more_under_way() -> None:
    """One after the other, without a pause: more than may be under way at a time, and never so."""
    room = Room()
    for _ in range(2 * MOST_BYTES // rounds.WHOLE_BYTES + 4):
        came = sum(len(socket.frames) for socket in room.sockets)
        publish(room, rounds.WHOLE_BYTES // 2)
        assert sum(len(socket.frames) for socket in room.sockets) == came
        await turns_of_the_loop(3)
    await room.play([])
    room.check()

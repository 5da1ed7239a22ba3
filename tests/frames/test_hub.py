"""The moment of a join, step by step: what waits, what comes live, what is forgotten.

The hub neither waits nor knows a network, so each order of events can be set up by hand; those that
a running server shows only now and then are here.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from connections.hub import ConnectionInfo, Hub
from connections.outbox import Outbox
from connections.publication import publication
from connections.registry import registry
from sessions_app.records import UserRef
from tests.support.in_process import FakeSocket, add, make_person, running_manager, until

pytestmark = pytest.mark.storeless

HERE = "01a204ff-b87e-7596-8aa3-a61245b618c3"
ELSEWHERE = "01a204ff-b87e-7596-8aa3-a61245b618c4"


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def arrive(hub):
    """A connection, and the socket behind it."""

    def make(name="c1"):
        socket = FakeSocket()
        connection = ConnectionInfo(
            name, Outbox(socket, name, 10_000, repr, repr), user=UserRef(name, name)
        )
        hub.add(connection)
        return connection, socket

    return make


def message(sequence, **options):
    frame = {"type": "message", "n": sequence}
    return publication("conversation", HERE, frame, sequence=sequence, **options)


def numbers(socket):
    return [frame["n"] for frame in socket.frames]


def test_between_begin_and_finish_everything_waits(hub, arrive):
    connection, socket = arrive()
    assert hub.begin_join(connection, HERE)
    for sequence in (4, 5, 6):
        hub.deliver(message(sequence))
    assert numbers(socket) == []
    waited = hub.finish_join(connection, HERE, 5)
    assert waited is not None
    assert [item.sequence for item in waited] == [6]
    # What is published late, but was in the answer, does not come again.
    for sequence in (5, 7):
        hub.deliver(message(sequence))
    assert numbers(socket) == [7]


def test_what_is_not_for_it_does_not_wait_for_it(hub, arrive):
    connection, _ = arrive()
    hub.begin_join(connection, HERE)
    hub.deliver(message(1, exclude="c1"))
    hub.deliver(message(2, exclude_user="c1"))
    hub.deliver(publication("conversation", ELSEWHERE, {"type": "typing", "n": 3}))
    assert hub.finish_join(connection, HERE, 0) == []


def test_frames_without_a_sequence_come_behind_the_answer(hub, arrive):
    connection, socket = arrive()
    hub.begin_join(connection, HERE)
    hub.deliver(publication("conversation", HERE, {"type": "typing", "n": 0}))
    waited = hub.finish_join(connection, HERE, 5)
    assert [item.frame_type for item in waited] == ["typing"]
    hub.deliver(publication("conversation", HERE, {"type": "typing", "n": 1}))
    assert numbers(socket) == [1]


def test_a_join_that_fails_leaves_things_as_they_were(hub, arrive):
    connection, socket = arrive()
    hub.begin_join(connection, HERE)
    hub.deliver(message(1))
    assert hub.abandon_join(connection, HERE) == []
    hub.deliver(message(2))
    assert numbers(socket) == []
    assert not hub.holds("conversation", HERE)
    # One that had joined before goes on from where it was.
    hub.begin_join(connection, HERE)
    hub.finish_join(connection, HERE, 2)
    hub.begin_join(connection, HERE)
    hub.deliver(message(3))
    assert [item.sequence for item in hub.abandon_join(connection, HERE)] == [3]
    hub.deliver(message(4))
    assert numbers(socket) == [4]


def test_who_is_taken_out_while_it_joins_is_out(hub, arrive):
    connection, socket = arrive()
    hub.begin_join(connection, HERE)
    assert hub.leave(connection, HERE) == [("conversation", HERE)]
    assert hub.finish_join(connection, HERE, 5) is None
    hub.deliver(message(6))
    assert numbers(socket) == []
    assert connection.joined == {}
    assert connection.joining == set()


def test_who_has_ended_joins_nothing(hub, arrive):
    connection, _ = arrive()
    stays, socket = arrive("c2")
    hub.begin_join(stays, HERE)
    hub.finish_join(stays, HERE, 0)
    hub.begin_join(connection, ELSEWHERE)
    ended, audiences = hub.remove("c1")
    assert ended is connection
    assert ("conversation", ELSEWHERE) in audiences
    assert not hub.begin_join(connection, HERE)
    assert hub.finish_join(connection, ELSEWHERE, 0) is None
    hub.deliver(message(1))
    assert numbers(socket) == [1]
    assert not hub.holds("conversation", ELSEWHERE)


async def test_counts_of_tabs_are_told_in_the_order_in_which_they_were_counted(transactional_db):
    """Two batches are written while the loop is busy: the older count must not come last."""
    async with running_manager() as manager:
        alice = await make_person()
        first, heard = await add(manager, alice)
        client_id = manager.active_connections[first].client_id
        second, _ = await add(manager, alice, client_id=client_id)
        await until(lambda: heard.of_type("client_connections"))
        opening = asyncio.create_task(
            manager.add_connection(FakeSocket(), client_id=client_id, user_id=alice.id)
        )
        while not len(registry):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        # A loop that is held up meanwhile hears of both at once.
        time.sleep(0.2)  # noqa: ASYNC251 - the loop has to hang
        manager.node.local.forget(second, 1000, "gone")
        time.sleep(0.2)  # noqa: ASYNC251 - the loop has to hang
        await opening
        await until(lambda: len(heard.of_type("client_connections")) == 3)
        assert [frame["count"] for frame in heard.of_type("client_connections")] == [2, 3, 2]

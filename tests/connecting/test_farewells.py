"""The last frame of a connection: behind what waits, and never waited for without end."""

from __future__ import annotations

import pytest

from connections import outbox as outbox_module
from connections.outbox import Outbox
from tests.support.in_process import BlockedSocket, FakeSocket, until

pytestmark = pytest.mark.storeless

FAREWELL = '{"type":"disconnect"}'


@pytest.fixture(autouse=True)
def short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FAREWELL_SECONDS", 0.1)


def outbox_of(socket: FakeSocket) -> Outbox:
    def unexpected(connection_id: str) -> None:
        raise AssertionError("nothing is wrong with this one")

    return Outbox(socket, "c1", 1_000, unexpected, unexpected)


async def test_a_peer_that_reads_has_its_farewell_at_once() -> None:
    socket = FakeSocket()
    outbox_of(socket).close(FAREWELL, 4412, "bye", discard=False)
    assert socket.texts == [FAREWELL]
    assert socket.closed == (4412, "bye")


async def test_the_farewell_comes_behind_what_waits() -> None:
    socket = BlockedSocket()
    outbox = outbox_of(socket)
    for text in ("first", "second"):
        outbox.put(text)
    outbox.close(FAREWELL, 4412, "bye", discard=False)
    outbox.put("too late")
    assert socket.closed is None
    socket.read.set()
    await until(lambda: socket.closed)
    assert socket.texts == ["first", "second", FAREWELL]
    assert outbox.waiting == 0


@pytest.mark.parametrize("waiting", [[], ["first", "second"]])
async def test_a_peer_that_does_not_read_is_closed_all_the_same(waiting: list[str]) -> None:
    socket = BlockedSocket()
    outbox = outbox_of(socket)
    for text in waiting:
        outbox.put(text)
    outbox.close(FAREWELL, 4412, "bye", discard=False)
    await until(lambda: socket.closed, timeout=1)
    assert socket.texts == []
    assert outbox.waiting == 0

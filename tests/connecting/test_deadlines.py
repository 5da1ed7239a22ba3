"""Who must have said something by when: authenticate, any frame, and any frame but `ping`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest

from tests.connecting.conftest import TWO_KINDS, Connect, ServerWith, closed_row
from tests.support.client import WireClient
from tests.support.server import ServerProcess

pytestmark = pytest.mark.storeless

AUTH_SECONDS = 1.0
IDLE_SECONDS = 1.6
# How late the server may notice, and some more for a busy machine.
SLACK_SECONDS = 3.0


@pytest.fixture(params=TWO_KINDS)
def hasty_server(request: pytest.FixtureRequest, shared_server_with: ServerWith) -> ServerProcess:
    return shared_server_with(
        kind=request.param,
        OVARA_AUTH_TIMEOUT_SECONDS=str(AUTH_SECONDS),
        OVARA_IDLE_TIMEOUT_SECONDS=str(IDLE_SECONDS),
        OVARA_HEARTBEAT_INTERVAL_SECONDS="0.5",
        # It cleans up all the time, and yet nobody is inactive unless that is switched on.
        OVARA_CLEANUP_INTERVAL_SECONDS="0.2",
    )


@pytest.fixture
def inactive_server(shared_server_with: ServerWith) -> ServerProcess:
    """It ends, by itself, whoever was inactive for 1.2 seconds."""
    return shared_server_with(
        OVARA_CLEANUP_INACTIVE_MINUTES="0.02",
        OVARA_CLEANUP_INTERVAL_SECONDS="0.3",
        OVARA_NODE_HEARTBEAT_SECONDS="0.2",
    )


async def says(client: WireClient, frames: Iterable[Any], *, every: float) -> None:
    """Send frames, one by one, with time between them."""
    for frame in frames:
        await (client.send(frame) if isinstance(frame, dict) else client.send_raw(frame))
        await asyncio.sleep(every)


async def test_who_does_not_authenticate_in_time_is_closed_with_4401(
    hasty_server: ServerProcess, connect: Connect
) -> None:
    started = time.monotonic()
    in_time = await connect(hasty_server, hasty_server.make_user(), via="frame")
    silent, chatty, wrong = [await connect(hasty_server) for _ in range(3)]
    answer = await wrong.request({"type": "authenticate", "token": "nonsense"})
    assert answer["code"] == "unauthenticated"
    ends = await asyncio.gather(
        *(client.closed() for client in (silent, chatty, wrong)),
        # Frames do not move this deadline.
        says(chatty, [{"type": "ping"}] * 3, every=0.25),
    )
    assert AUTH_SECONDS <= time.monotonic() - started < AUTH_SECONDS + SLACK_SECONDS
    for end in ends[:3]:
        assert end.code == 4401
        assert end.disconnect is not None
        assert end.disconnect["reason"] == "not authenticated in time"
        assert end.disconnect["reconnect"] is True
    assert (await in_time.request({"type": "ping"}))["type"] == "pong"


async def test_who_sends_no_frame_is_closed_with_4408(
    hasty_server: ServerProcess, connect: Connect
) -> None:
    alice = hasty_server.make_user()
    started = time.monotonic()
    silent, pinging, failing, receiving = [await connect(hasty_server, alice) for _ in range(4)]
    connecting = time.monotonic() - started

    async def end_of(client: WireClient) -> float:
        end = await client.closed()
        assert end.code == 4408
        assert end.disconnect is not None
        assert end.disconnect["reconnect"] is True
        return time.monotonic() - started

    more = int(IDLE_SECONDS / 0.4) + 2
    first, second, *_ = await asyncio.gather(
        end_of(silent),
        # What the server sends, and the control frames of WebSocket, do not count.
        end_of(receiving),
        _control_pings(receiving),
        says(pinging, [{"type": "ping"}] * more, every=0.4),
        says(failing, ["no JSON at all"] * more, every=0.4),
    )
    for took in (first, second):
        assert IDLE_SECONDS - 0.2 <= took < connecting + IDLE_SECONDS + SLACK_SECONDS
    for client in (pinging, failing):
        assert client.socket.close_code is None, "any frame keeps a connection"
    row = await closed_row(hasty_server, silent.connection_id)
    assert (row.close_code, row.close_reason) == (4408, f"no frame for {IDLE_SECONDS:g} seconds")


async def _control_pings(client: WireClient) -> None:
    for _ in range(3):
        await client.socket.ping()
        await asyncio.sleep(0.3)


async def test_who_sends_nothing_but_ping_is_cleaned_up_as_inactive(
    inactive_server: ServerProcess, connect: Connect
) -> None:
    alice = inactive_server.make_user()
    pinging, active = await connect(inactive_server, alice), await connect(inactive_server, alice)
    anonymous = await connect(inactive_server)
    started = time.monotonic()
    end, end_of_anonymous, *_ = await asyncio.gather(
        pinging.closed(),
        anonymous.closed(),
        says(pinging, [{"type": "ping"}] * 4, every=0.3),
        says(active, [{"type": "away", "is_away": False}] * 9, every=0.3),
    )
    assert time.monotonic() - started < 1.2 + 0.2 + 0.3 + 2 * SLACK_SECONDS
    for one in (end, end_of_anonymous):
        assert one.code == 4408
        assert one.disconnect is not None
        assert one.disconnect["reconnect"] is True
        assert one.disconnect["reason"] == "inactive for 0.02 minutes"
    assert active.socket.close_code is None
    assert (await active.request({"type": "ping"}))["type"] == "pong"

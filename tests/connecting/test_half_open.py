"""A pulled cable: the socket looks open to the server, and nobody is at its other end. The others
hear that its user has left within the idle time-out, and the grace."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import GRACE_SECONDS
from tests.connecting.conftest import Connect, MakeConversation, ServerWith, closed_row
from tests.support.client import WireClient
from tests.support.environment import ROOT, clean_environment
from tests.support.process import ChildProcess
from tests.support.server import KINDS, ServerProcess
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.storeless

IDLE_SECONDS = 1.6
PING_SECONDS = 0.2
# How late the server may notice, and some more for a busy machine.
SLACK_SECONDS = 5.0

# A page: it joins, and pings as the browser's library does, until it is stopped.
PAGE = f"""
import json, sys, time
from websockets.sync.client import connect
url, token, conversation_id = sys.argv[1:]
headers = {{"Authorization": "Bearer " + token}}
with connect(url, additional_headers=headers, proxy=None, ping_interval=None) as socket:
    socket.recv()
    socket.send(json.dumps({{"type": "join", "conversation_id": conversation_id}}))
    while True:
        print(json.loads(socket.recv())["type"], flush=True)
        socket.send(json.dumps({{"type": "ping"}}))
        time.sleep({PING_SECONDS})
"""


@pytest.fixture(params=KINDS)
def hasty_server(request: pytest.FixtureRequest, shared_server_with: ServerWith) -> ServerProcess:
    return shared_server_with(
        kind=request.param,
        OVARA_IDLE_TIMEOUT_SECONDS=str(IDLE_SECONDS),
        OVARA_HEARTBEAT_INTERVAL_SECONDS="0.5",
    )


class Watcher:
    """bob, who is in the conversation, pings now and then, and hears of alice."""

    def __init__(self, client: WireClient, conversation_id: str, alice: Any) -> None:
        self.client = client
        self.conversation_id = conversation_id
        self.alice = alice

    async def ping(self) -> None:
        while True:
            await self.client.barrier()
            await asyncio.sleep(PING_SECONDS)

    async def sees_her_leave(self, since: float) -> None:
        """Once, between the idle time-out and a little after the grace."""
        latest = since + IDLE_SECONDS + GRACE_SECONDS + SLACK_SECONDS
        left = await self.client.expect("user_left", timeout=latest - time.monotonic())
        assert left["user"] == self.alice.as_json
        assert time.monotonic() - since > IDLE_SECONDS - 0.5, "that was no time-out"
        ack = await self.client.request(
            {"type": "presence", "conversation_id": self.conversation_id}
        )
        assert self.alice.id not in [user["user"]["id"] for user in ack["users"]]


@pytest.fixture
async def watcher(
    hasty_server: ServerProcess, connect: Connect, make_conversation: MakeConversation
) -> AsyncIterator[Watcher]:
    alice, bob = hasty_server.make_user(), hasty_server.make_user()
    conversation_id = await make_conversation(hasty_server, alice, bob)
    client = await connect(hasty_server, bob)
    await client.join(conversation_id)
    watcher = Watcher(client, conversation_id, alice)
    pinging = asyncio.create_task(watcher.ping())
    yield watcher
    pinging.cancel()


async def test_behind_a_pulled_cable_nobody_is_present_for_longer_than_the_idle_time_out(
    hasty_server: ServerProcess, watcher: Watcher, connect: Connect
) -> None:
    async with TcpProxy.running(hasty_server.port) as line:
        through = SimpleNamespace(ws_url=f"ws://127.0.0.1:{line.port}/ws/")
        alice = await connect(through, watcher.alice)
        await alice.join(watcher.conversation_id)
        await watcher.client.expect("user_joined")
        line.cut()
        await alice.send({"type": "ping"})  # On the wrong side of the cut.
        await watcher.sees_her_leave(time.monotonic())
        row = await closed_row(hasty_server, alice.connection_id)
        assert row.close_code == 4408
        # Where the line is mended, she has been told, and does not count any more.
        line.mend()
        assert (await alice.closed()).code == 4408


async def test_a_client_that_is_frozen_is_not_present_for_longer_than_the_idle_time_out(
    hasty_server: ServerProcess, watcher: Watcher, tmp_path: Any
) -> None:
    arguments = [hasty_server.ws_url, watcher.alice.token(), watcher.conversation_id]
    page = ChildProcess(
        [sys.executable, "-c", PAGE, *arguments],
        env=clean_environment(),
        cwd=ROOT,
        log_path=tmp_path / "page.log",
    )
    page.launch()
    try:
        await watcher.client.expect("user_joined", timeout=10)
        # While it pings it stays, however long.
        await asyncio.sleep(IDLE_SECONDS + GRACE_SECONDS)
        assert await watcher.client.pending("user_left") == []
        page.signal(signal.SIGSTOP)
        await watcher.sees_her_leave(time.monotonic())
    finally:
        page.kill()

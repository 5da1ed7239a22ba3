"""An acknowledged message is on the disk: the write-ahead log is synced before the ack leaves.

SIGKILL does not show what a power cut does, since the kernel keeps what was written. So the calls
that force it to the disk are counted (ADR 0003).
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path

import pytest

from tests.conftest import SHARED_SERVER_SETTINGS, Connect
from tests.durability.traced import SENDS, SYNCS, Call, calls_of, under_strace
from tests.support.client import WireClient
from tests.support.database import Account, Database
from tests.support.server import ServerProcess

# Of the other stores the disk is their own server's affair.
pytestmark = pytest.mark.stores("sqlite")

LONE_MESSAGES = 20
WRITERS = 30
MESSAGES_EACH = 4
# As strace writes the beginning of an ack.
_ACK = re.compile(r'\\"type\\":\\"ack\\",\\"id\\":\\"([^\\]+)\\"')


class Traced:
    """A server, and what it did."""

    def __init__(self, server: ServerProcess, output: Path) -> None:
        self.server = server
        self._output = output

    async def timeline(self, since: float, request_ids: Collection[str]) -> Timeline:
        """What it did since then; strace writes its lines a moment after the calls."""
        async with asyncio.timeout(10):
            while True:
                calls = [call for call in calls_of(self._output) if call.began_at > since]
                timeline = Timeline(calls)
                if timeline.acks.keys() >= set(request_ids):
                    return timeline
                await asyncio.sleep(0.05)


class Timeline:
    """What a server did, as far as it has to do with acks."""

    def __init__(self, calls: list[Call]) -> None:
        # When the write-ahead log was forced to the disk.
        self.syncs = [
            call for call in calls if call.name in SYNCS and "db.sqlite3-wal>" in call.text
        ]
        # request id → when its ack was handed to the kernel
        self.acks = {
            request_id: call.began_at
            for call in calls
            if call.name in SENDS
            for request_id in _ACK.findall(call.text)
        }

    def is_synced(self, request_id: str, sent_at: float) -> bool:
        """Whether the log was synced between a message's leaving here and its ack's there."""
        return any(
            sent_at < sync.began_at and sync.ended_at < self.acks[request_id] for sync in self.syncs
        )


@pytest.fixture(scope="module")
def traced(
    database_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traced]:
    strace = shutil.which("strace") or pytest.skip("strace is not installed: make test-deps")
    if subprocess.run([strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not let strace trace its own children (ptrace)")
    folder = tmp_path_factory.mktemp("traced")
    database = database_template.copy_to(folder / "db.sqlite3")
    server = ServerProcess(database, folder=folder, environment=SHARED_SERVER_SETTINGS)
    under_strace(server, strace, folder / "calls")
    server.start()
    yield Traced(server, folder / "calls")
    server.kill()


class Writer:
    """A connection that sends messages to one conversation."""

    def __init__(self, client: WireClient, conversation_id: str) -> None:
        self.client = client
        self.conversation_id = conversation_id
        # request id → when the message left here; the request is answered.
        self.sent: dict[str, float] = {}

    async def write(self, *request_ids: str) -> None:
        """One after the other, each when the one before is acknowledged."""
        for request_id in request_ids:
            self.sent[request_id] = time.time()
            frame = {"type": "message", "conversation_id": self.conversation_id, "content": "hello"}
            answer = await self.client.request(
                frame | {"id": request_id, "client_message_id": request_id}
            )
            assert answer["type"] == "ack", answer


@pytest.fixture
async def make_writer(
    traced: Traced,
    connect: Connect,
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Awaitable[str]],
) -> Callable[[], Awaitable[Writer]]:
    async def make() -> Writer:
        account = make_user(traced.server)
        conversation_id = await make_conversation(traced.server, account)
        return Writer(await connect(traced.server, account), conversation_id)

    return make


async def test_each_ack_of_a_lone_writer_waits_for_a_sync_of_its_own(
    traced: Traced, make_writer: Callable[[], Awaitable[Writer]]
) -> None:
    writer = await make_writer()
    began_at = time.time()
    await writer.write(*(f"lone-{number}" for number in range(LONE_MESSAGES)))
    timeline = await traced.timeline(began_at, writer.sent)
    assert len(timeline.syncs) >= LONE_MESSAGES
    assert [key for key, at in writer.sent.items() if not timeline.is_synced(key, at)] == []


async def test_many_writers_share_a_sync_and_none_is_acknowledged_before_it(
    traced: Traced, make_writer: Callable[[], Awaitable[Writer]]
) -> None:
    writers = [await make_writer() for _ in range(WRITERS)]
    began_at = time.time()
    await asyncio.gather(
        *(
            writer.write(*(f"writer-{number}-{turn}" for turn in range(MESSAGES_EACH)))
            for number, writer in enumerate(writers)
        )
    )
    sent = {key: at for writer in writers for key, at in writer.sent.items()}
    timeline = await traced.timeline(began_at, sent)
    assert len(timeline.syncs) < len(sent) / 2
    assert [key for key, at in sent.items() if not timeline.is_synced(key, at)] == []

"""An acknowledged message is on the disk: the write-ahead log is synced before the ack leaves.

SIGKILL does not show what a power cut does, since the kernel keeps what was written. So the calls
that force it to the disk are counted (ADR 0003).
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.conftest import SHARED_SERVER_SETTINGS, Connect
from tests.durability.traced import SENDS, SYNCS, WRITES, Call, calls_of, under_strace
from tests.support.client import WireClient
from tests.support.database import Account, Database
from tests.support.server import ServerProcess

# Of the other stores the disk is their own server's affair.
pytestmark = pytest.mark.stores("sqlite")

LONE_MESSAGES = 20
WRITERS = 30
MESSAGES_EACH = 4
# The names of messages, by which they are known again in pages and in frames.
NAME = re.compile(rb"(?:lone|many)-\d\d-\d\d")
FRAME_HEADER_BYTES = 24


class Traced:
    """A server, and what it did."""

    def __init__(self, server: ServerProcess, output: Path) -> None:
        self.server = server
        self._output = output

    def mark(self) -> int:
        """Where in its calls we are."""
        return self._output.stat().st_size

    async def timeline(self, mark: int, names: Collection[str]) -> Timeline:
        """What it did since `mark`, until it had told of all `names`; strace writes its lines a
        moment after the calls."""
        async with asyncio.timeout(10):
            while True:
                timeline = Timeline(calls_of(self._output, mark))
                if timeline.acknowledged >= set(names) and timeline.published >= set(names):
                    return timeline
                await asyncio.sleep(0.05)


class Timeline:
    """What a server did, as far as it has to do with messages.

    The write-ahead log is a row of frames, each a header and a page. A commit's last frame tells
    in its header how large the database is now; in all others that is 0
    (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
    """

    def __init__(self, calls: list[Call]) -> None:
        log = [call for call in calls if "db.sqlite3-wal>" in call.text]
        self.syncs = [call for call in log if call.name in SYNCS]
        writes = [call for call in log if call.name in WRITES]
        self.commits = [call for call in writes if _is_commit(call.data)]
        # name → when a page with that message was in the log for the first time
        self.written: dict[str, float] = {}
        for call in writes:
            for name in _names(call):
                self.written.setdefault(name, call.ended_at)
        sends = [call for call in calls if call.name in SENDS and b'"type":' in call.data]
        # name → when anybody was sent that message for the first time
        self.told: dict[str, float] = {}
        for call in sorted(sends, key=lambda call: call.began_at):
            for name in _names(call):
                self.told.setdefault(name, call.began_at)
        self.acknowledged = _named(sends, b'"type":"ack"')
        self.published = _named(sends, b'"type":"message"')

    def told_too_early(self, names: Iterable[str]) -> list[str]:
        """Of `names` those that were told, by an ack or to others, while the log with them had not
        been synced."""
        return [
            name
            for name in names
            if not any(
                self.written[name] <= sync.began_at and sync.ended_at <= self.told[name]
                for sync in self.syncs
            )
        ]

    def commits_without_a_sync(self) -> list[Call]:
        """Commits that were not synced before the next one."""
        ends = [*(commit.began_at for commit in self.commits[1:]), float("inf")]
        return [
            commit
            for commit, end in zip(self.commits, ends, strict=True)
            if not any(
                commit.ended_at <= sync.began_at and sync.ended_at <= end for sync in self.syncs
            )
        ]


def _is_commit(data: bytes) -> bool:
    return len(data) == FRAME_HEADER_BYTES and data[4:8] != bytes(4)


def _names(call: Call) -> set[str]:
    return {name.decode() for name in NAME.findall(call.data)}


def _named(sends: Iterable[Call], words: bytes) -> set[str]:
    return {name for call in sends if words in call.data for name in _names(call)}


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
    """A connection that sends messages to one conversation, in which another listens."""

    def __init__(self, client: WireClient, conversation_id: str) -> None:
        self.client = client
        self.conversation_id = conversation_id

    async def write(self, names: Iterable[str]) -> None:
        """One after the other, each when the one before is acknowledged."""
        for name in names:
            frame = {"type": "message", "conversation_id": self.conversation_id, "content": "hello"}
            answer = await self.client.request(frame | {"client_message_id": name})
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
        listener = await connect(traced.server, account)
        await listener.join(conversation_id)
        return Writer(await connect(traced.server, account), conversation_id)

    return make


async def test_a_lone_writer_has_a_commit_and_a_sync_for_each_message(
    traced: Traced, make_writer: Callable[[], Awaitable[Writer]]
) -> None:
    writer = await make_writer()
    names = [f"lone-00-{number:02}" for number in range(LONE_MESSAGES)]
    mark = traced.mark()
    await writer.write(names)
    timeline = await traced.timeline(mark, names)
    assert len(timeline.commits) >= LONE_MESSAGES
    assert timeline.commits_without_a_sync() == []
    assert timeline.told_too_early(names) == []


async def test_many_writers_share_commits_and_none_is_told_of_before_its_sync(
    traced: Traced, make_writer: Callable[[], Awaitable[Writer]]
) -> None:
    writers = [await make_writer() for _ in range(WRITERS)]
    plans = [
        [f"many-{number:02}-{turn:02}" for turn in range(MESSAGES_EACH)]
        for number in range(WRITERS)
    ]
    mark = traced.mark()
    await asyncio.gather(*(writer.write(plan) for writer, plan in zip(writers, plans, strict=True)))
    names = [name for plan in plans for name in plan]
    timeline = await traced.timeline(mark, names)
    assert 0 < len(timeline.commits) < len(names) / 2
    assert timeline.commits_without_a_sync() == []
    assert timeline.told_too_early(names) == []


@pytest.mark.stores("sqlite")
def test_the_log_is_synced_at_each_commit_and_copied_back_seldom(db: None) -> None:
    with connection.cursor() as cursor:
        found = [
            cursor.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint")
        ]
    full = 2
    assert found == ["wal", full, 10_000]

"""One run: servers, clients, kills, then calm and the verdict."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess
from tests.torture.client import TortureClient
from tests.torture.options import MIN_ACKS_PER_KILL, REDIS, Kill, Options
from tests.torture.promises import Tally
from tests.torture.verdict import faults_of_messages, faults_of_presence
from tests.torture.world import (
    Person,
    in_database,
    make_world,
    stored_conversation,
    stored_presence,
)

# How long clients may need to be in step when nobody writes or kills any more.
CALM_SECONDS = 60.0
# Rows follow what happens within heartbeat, lapse and grace of `SERVER_SETTINGS`.
ROWS_SECONDS = 20.0
POLL_SECONDS = 0.02
# A server that acknowledges `MIN_ACKS_PER_KILL` messages takes no longer, or nothing is proved.
LIFE_SECONDS = 30.0


@dataclass
class Report:
    """What a run has shown."""

    seed: int
    tally: Tally
    kills: int = 0
    kills_at_start: int = 0
    redis_kills: int = 0
    # Acknowledged messages between one kill and the next.
    acks_per_kill: list[int] = field(default_factory=list)
    messages: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        acks = self.acks_per_kill or [0]
        lines = [
            f"seed {self.seed}: {self.kills} kills and {self.kills_at_start} more at the start, "
            f"{self.redis_kills} of Redis, "
            f"in {self.seconds:.0f} s, "
            f"{self.tally.acknowledged} messages acknowledged "
            f"({sum(acks) / len(acks):.0f} a kill, {min(acks)} to {max(acks)}), "
            f"{self.messages} stored, {self.tally.duplicates} duplicates answered, "
            f"{self.tally.connections} connections, {self.tally.recovered} recovered by join, "
            f"{self.tally.gaps} gaps filled",
            *(f"FAULT: {fault}" for fault in self.faults[:20]),
        ]
        if len(self.faults) > 20:
            lines.append(f"… and {len(self.faults) - 20} faults more")
        return "\n".join(lines)


class Torture:
    """Runs one schedule against `servers`, which share a database.

    Args:
        servers: not started yet; killed when the run is over.
        redis: the run's own, not started yet either.
        say: told what happens, for people.
    """

    def __init__(
        self,
        options: Options,
        servers: Sequence[ServerProcess],
        say: Callable[[str], object],
        redis: RedisServer | None = None,
    ) -> None:
        self.options = options
        self.servers = servers
        self.redis = redis
        self.report = Report(options.seed, Tally())
        self._say = say

    async def run(self) -> Report:
        """Run it all; the report's `faults` are empty if nothing was lost."""
        options, report = self.options, self.report
        began_at = time.monotonic()
        people = await in_database(
            lambda: make_world(people=options.clients // 2, conversations=options.conversations)
        )
        clients = self._clients(people)
        try:
            if self.redis is not None:
                await asyncio.to_thread(self.redis.start)
            for server in self.servers:
                await asyncio.to_thread(server.start)
            async with self._talking(clients):
                await self._kill_again_and_again()
                await self._calm_down(clients)
                await self._judge(clients)
            # They have gone, and no row may say otherwise.
            await self._judge_presence([])
        finally:
            for server in self.servers:
                server.kill()
            if self.redis is not None:
                self.redis.kill()
        report.faults += faults_of_logs(self.servers)
        report.faults[:0] = report.tally.faults
        report.seconds = time.monotonic() - began_at
        return report

    def _clients(self, people: Sequence[Person]) -> list[TortureClient]:
        """Two tabs for everybody, each of a client of its own."""
        clients: list[TortureClient] = []
        for person in people:
            pair = [
                TortureClient(
                    f"{person.username.rsplit('-', 1)[0]}-{tab}",
                    addresses=[server.ws_url for server in self.servers],
                    token=person.token,
                    client_id=str(uuid.uuid4()),
                    user_id=person.id,
                    conversation_ids=person.conversation_ids,
                    seed=self.options.seed,
                    tally=self.report.tally,
                    strict=self.options.is_strict,
                )
                for tab in "ab"
            ]
            pair[0].twin, pair[1].twin = pair[1], pair[0]
            clients += pair
        return clients

    @asynccontextmanager
    async def _talking(self, clients: Sequence[TortureClient]) -> AsyncIterator[None]:
        """Meanwhile the clients run; one that breaks ends the run."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.run()) for client in clients]
            yield
            for task in tasks:
                task.cancel()

    async def _kill_again_and_again(self) -> None:
        for kill in self.options.schedule():
            acknowledged = await self._live(kill)
            self.report.acks_per_kill.append(acknowledged)
            if acknowledged < MIN_ACKS_PER_KILL:
                self.report.faults.append(
                    f"{acknowledged} messages acknowledged in {LIFE_SECONDS} s: this proves nothing"
                )
                return
            await self._kill(kill)
            if (self.report.kills + self.report.redis_kills) % 10 == 0:
                self._say(f"{self.report.kills} kills, {self.report.tally.acknowledged} messages")

    async def _live(self, kill: Kill) -> int:
        """Wait for the moment of the kill, which comes when there is something to lose."""
        before = self.report.tally.acknowledged
        deadline = time.monotonic() + LIFE_SECONDS
        await asyncio.sleep(kill.after_seconds)
        while (acknowledged := self.report.tally.acknowledged - before) < MIN_ACKS_PER_KILL:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_SECONDS)
        return acknowledged

    async def _kill(self, kill: Kill) -> None:
        if kill.node == REDIS:
            assert self.redis is not None
            await asyncio.to_thread(self.redis.kill)
            self.report.redis_kills += 1
            await asyncio.sleep(kill.after_seconds)
            await asyncio.to_thread(self.redis.start)
            return
        server = self.servers[kill.node]
        await asyncio.to_thread(server.kill)
        self.report.kills += 1
        if kill.twice:
            # Anywhere in its start: it registers, reaps what its former life left, takes joins.
            server.launch()
            await asyncio.sleep(kill.after_seconds)
            await asyncio.to_thread(server.kill)
            self.report.kills_at_start += 1
        await asyncio.to_thread(server.start)

    async def _calm_down(self, clients: Sequence[TortureClient]) -> None:
        """Let everybody finish what is on its way, and come in step by themselves."""
        for client in clients:
            client.writing = False
        try:
            async with asyncio.timeout(CALM_SECONDS):
                # As many things as there are views have to come true: no one event says so.
                while not all(client.is_calm for client in clients):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            restless = [client.name for client in clients if not client.is_calm]
            self.report.faults.append(f"not in step after {CALM_SECONDS} s: {restless}")

    async def _judge(self, clients: Sequence[TortureClient]) -> None:
        ids = sorted({key for client in clients for key in client.views})
        stored = await in_database(lambda: {key: stored_conversation(key) for key in ids})
        self.report.messages = sum(len(one.messages) for one in stored.values())
        self.report.faults += faults_of_messages(stored, clients)
        await self._judge_presence(clients)

    async def _judge_presence(self, clients: Sequence[TortureClient]) -> None:
        """While exactly `clients` are connected, or soon after."""
        self.report.faults += await in_database(
            lambda: _soon_none(lambda: list(faults_of_presence(stored_presence(), clients)))
        )


def faults_of_logs(servers: Sequence[ServerProcess]) -> Iterator[str]:
    """What no process may ever have to say, however many share a database."""
    for server in servers:
        found = [line for line in server.logs().splitlines() if "database is locked" in line]
        if found:
            yield f"{server.log_path.name}: a process found the database locked: {found[:3]}"


def _soon_none(look: Callable[[], list[str]]) -> list[str]:
    """What `look` finds, once it finds nothing, or after `ROWS_SECONDS`; in a thread."""
    deadline = time.monotonic() + ROWS_SECONDS
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return found


@dataclass(frozen=True, slots=True)
class Address:
    """A database that servers reach by its variables, whichever it is."""

    environment: dict[str, str]


def servers_for(options: Options, folder: Path, environment: dict[str, str]) -> list[ServerProcess]:
    """The nodes of a run, not started."""
    return [
        ServerProcess(
            Address(environment),  # type: ignore[arg-type]
            folder=folder,
            kind=options.kind,
            environment=environment,
        )
        for _ in range(options.nodes)
    ]

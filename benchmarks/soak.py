"""A soak: half an hour of chatter with connects and drops; the memory at the end is to be what it
was after the first minute.

    python -m benchmarks.soak [--minutes 30] [--output var/bench]

So many people chat, each in one of a few conversations; every second some of them drop, half of
them without a word, and come back with their session and the last sequence they saw. Everything
that was acknowledged must have reached everybody who was there, or be in what their next join
recovers. The database has been in use before: with an empty one SQLite's page caches (up to 2 MiB
for each connection of the process to it) would grow for ten minutes. Written to `--output`:
soak.csv (second, resident KiB, connections, messages), soak.svg.
Speed is not measured: other work on the machine does no harm.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.running import Running
from benchmarks.servers import ROOT, World, ovara

PEOPLE = 200
CONVERSATIONS = 10
MESSAGES_A_SECOND = 40.0
DROPS_A_SECOND = 5.0
SAMPLE_SECONDS = 5.0
# Stored before it begins, and in one transaction.
OLD_MESSAGES, OLD_BATCH = 30_000, 500
# What the memory may grow by, between the first minutes and the last.
TOLERANCE = 0.05


@dataclass
class Person:
    """One client: where it was, and what it has seen of its conversation."""

    number: int
    header: str
    conversation_id: str
    socket: ClientConnection | None = None
    client_id: str = ""
    session_id: str = ""
    newest: int = 0
    welcome: asyncio.Event = field(default_factory=asyncio.Event)


class Soak:
    """All the people, and what they found wrong."""

    def __init__(self, port: int, world: World) -> None:
        self._port = port
        self.counts: Counter[str] = Counter()
        self.people = [
            Person(number, world.clients[number][0].partition(": ")[2], room)
            for number in range(PEOPLE)
            for room in [world.rooms[number % CONVERSATIONS]]
        ]

    @property
    def connections(self) -> int:
        return sum(one.socket is not None for one in self.people)

    async def live(self, person: Person) -> None:
        """Connect, join, listen; and again when it ends."""
        while True:
            query = f"?client_id={person.client_id}" if person.client_id else ""
            if person.session_id:
                query += f"&session_id={person.session_id}"
            url = f"ws://127.0.0.1:{self._port}/ws/{query}"
            headers = {"Authorization": person.header}
            try:
                async with connect(url, additional_headers=headers, compression=None) as socket:
                    self.counts["connects"] += 1
                    await self._listen(person, socket)
            except (ConnectionClosed, OSError, TimeoutError):
                pass
            finally:
                person.socket = None
            await asyncio.sleep(random.uniform(0.05, 1.0))

    async def _listen(self, person: Person, socket: ClientConnection) -> None:
        async for text in socket:
            frame = json.loads(text)
            kind = frame["type"]
            if kind == "welcome":
                person.client_id, person.session_id = frame["client_id"], frame["session"]["id"]
                join = {"type": "join", "id": "join", "conversation_id": person.conversation_id}
                await socket.send(json.dumps(join | {"since": person.newest}))
            elif kind == "ack" and frame.get("id") == "join":
                self._joined(person, frame)
                person.socket = socket
            elif kind == "message":
                self._saw(person, frame["message"]["sequence"], live=True)
            elif kind == "ack" and "message" in frame:
                self._saw(person, frame["message"]["sequence"], live=True)
                self.counts["messages"] += 1
            elif kind in ("error", "disconnect"):
                self.counts[f"{kind} {frame['code']}"] += 1

    def _joined(self, person: Person, frame: dict[str, Any]) -> None:
        for message in frame["messages"]:
            self._saw(person, message["sequence"], live=False)
        if person.newest != frame["sequence"]:
            # More than one answer holds was missed: begin behind it, as a client may.
            self.counts["lost" if not frame["has_more"] else "skipped"] += 1
            person.newest = frame["sequence"]

    def _saw(self, person: Person, sequence: int, *, live: bool) -> None:
        if sequence != person.newest + 1:
            self.counts["out of order" if live else "gap"] += 1
        person.newest = max(person.newest, sequence)

    async def chat(self) -> None:
        """Somebody says something, again and again."""
        number = 0
        while True:
            await asyncio.sleep(random.expovariate(MESSAGES_A_SECOND))
            person = random.choice(self.people)
            if person.socket is None:
                continue
            number += 1
            frame = {
                "type": random.choices(["message", "typing", "ping"], [8, 1, 1])[0],
                "conversation_id": person.conversation_id,
                "content": "x" * random.randint(1, 400),
                "client_message_id": f"{number}",
                "is_typing": True,
                "id": "say",
            }
            try:
                await person.socket.send(json.dumps(frame))
            except ConnectionClosed:
                continue

    async def drop(self) -> None:
        """Somebody goes, with or without a word."""
        while True:
            await asyncio.sleep(random.expovariate(DROPS_A_SECOND))
            socket = random.choice(self.people).socket
            if socket is None:
                continue
            self.counts["drops"] += 1
            if random.random() < 0.5:
                socket.transport.abort()
            else:
                asyncio.ensure_future(socket.close()).add_done_callback(lambda _: None)


def make_old(world: World) -> None:
    """What was said before."""
    from ovara.accounts.models import User
    from sessions_app.batches import Appended, Draft, write_batch
    from sessions_app.records import UserRef

    people = [UserRef(id=str(user.pk), username=user.username) for user in User.objects.all()]
    for first in range(0, OLD_MESSAGES, OLD_BATCH):
        stored = write_batch(
            [
                Draft(
                    world.rooms[number % CONVERSATIONS],
                    "x" * random.randint(1, 400),
                    "user",
                    people[number % PEOPLE],
                    f"old {number}",
                )
                for number in range(first, first + OLD_BATCH)
            ]
        )
        assert all(isinstance(one, Appended) for one in stored), stored[0]


async def soak(running: Running, world: World, minutes: float, table: Path) -> Soak:
    """Run it, writing a line for each sample."""
    people = Soak(running.port, world)
    tasks = [asyncio.create_task(people.live(one)) for one in people.people]
    tasks += [asyncio.create_task(people.chat()), asyncio.create_task(people.drop())]
    begun = time.monotonic()
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["second", "resident_kib", "connections", "messages"])
        while (at := time.monotonic() - begun) < minutes * 60:
            kib = running.resident_bytes() // 1024
            rows.writerow([round(at), kib, people.connections, people.counts["messages"]])
            file.flush()
            await asyncio.sleep(SAMPLE_SECONDS)
            for task in tasks:
                if task.done():
                    task.result()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return people


def samples(table: Path) -> list[tuple[float, float]]:
    """Seconds and resident KiB."""
    with table.open() as file:
        return [(float(row["second"]), float(row["resident_kib"])) for row in csv.DictReader(file)]


def verdict(found: list[tuple[float, float]]) -> tuple[float, float]:
    """KiB in the minute behind the first, and in the last."""
    end = found[-1][0]
    first = [kib for at, kib in found if 60 <= at <= 120]
    last = [kib for at, kib in found if at >= end - 60]
    return statistics.median(first), statistics.median(last)


def plot(found: list[tuple[float, float]], folder: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3))
    axes.plot([at / 60 for at, _ in found], [kib / 1024 for _, kib in found], color="#2f6fed")
    axes.set(xlabel="minutes", ylabel="MiB resident", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(folder / "soak.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "bench")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name), PEOPLE, rooms=CONVERSATIONS)
        make_old(world)
        with (options.output / "soak.log").open("w") as log:
            running = Running(ovara(world)[0], log, core=None)
            try:
                table = options.output / "soak.csv"
                people = asyncio.run(soak(running, world, options.minutes, table))
            finally:
                running.stop()
    found = samples(table)
    plot(found, options.output)
    first, last = verdict(found)
    print(dict(people.counts))
    print(f"{first / 1024:.1f} MiB after the first minute, {last / 1024:.1f} MiB at the end")
    wrong = [name for name in ("lost", "gap", "out of order") if people.counts[name]]
    if wrong or last > first * (1 + TOLERANCE):
        raise SystemExit(f"not as it should be: {', '.join(wrong) or 'the memory grows'}")


if __name__ == "__main__":
    main()

"""Durable messages a second, acknowledged: the journal beside the usual way, in one run.

The usual way is what a Channels tutorial does: `Message.objects.create` in
`database_sync_to_async`, one transaction a message, no sequence, no check of the sender's part, no
protection from repeats. The journal does all of that. Both write into the same tables of the same
new SQLite file (or DATABASE_URL), in turn, several times; medians are printed.

    python -m benchmarks.durable [--seconds 2] [--rounds 3] [--synchronous FULL]

https://channels.readthedocs.io/en/stable/topics/databases.html
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITERS = (1, 10, 100)
CONVERSATIONS = (1, 100)
CONTENT = "x" * 120


@dataclass(frozen=True)
class Figure:
    """One round of one way: acknowledged messages a second, the wait for the ack in ms, and what a
    message took of the processor, in ms: that says the same on a busy machine."""

    per_second: float
    p50: float
    p99: float
    cpu: float


async def measure(
    write: Callable[[int], Awaitable[object]], writers: int, seconds: float
) -> Figure:
    """Let `writers` write one message after the other for `seconds`."""
    waits: list[float] = []
    began_at, cpu = time.perf_counter(), time.process_time()
    end = began_at + seconds

    async def writer(number: int) -> None:
        while (start := time.perf_counter()) < end:
            await write(number)
            waits.append(time.perf_counter() - start)

    await asyncio.gather(*(writer(number) for number in range(writers)))
    took, count = time.perf_counter() - began_at, len(waits)
    waits.sort()
    return Figure(
        count / took,
        waits[count // 2] * 1e3,
        waits[int(count * 0.99)] * 1e3,
        (time.process_time() - cpu) / count * 1e3,
    )


class Ways:
    """The two ways to store a message, over the same tables."""

    def __init__(self) -> None:
        from django.contrib.auth import get_user_model

        from sessions_app.records import UserRef
        from sessions_app.services import conversation_create

        user = get_user_model().objects.create_user("writer")
        self.user_id = user.pk
        self.sender = UserRef(str(user.pk), "writer")
        self.ids = [str(conversation_create(owner=user).pk) for _ in range(max(CONVERSATIONS))]
        self.conversations = 1
        # Clients make these, not the server.
        self.client_message_ids = map(str, itertools.count())
        self.unused_sequences = itertools.count(1_000_000_000)

    def conversation(self, writer: int) -> str:
        return self.ids[writer % self.conversations]

    async def journal(self, writer: int) -> object:
        from sessions_app import journal

        return await journal.post(
            conversation_id=self.conversation(writer),
            content=CONTENT,
            sender=self.sender,
            client_message_id=next(self.client_message_ids),
        )

    async def usual(self, writer: int) -> object:
        from channels.db import database_sync_to_async

        from sessions_app.models import Message

        return await database_sync_to_async(Message.objects.create)(
            conversation_id=self.conversation(writer),
            # The table wants one; the usual way has none to compute.
            sequence=next(self.unused_sequences),
            sender_id=self.user_id,
            content=CONTENT,
            client_message_id=next(self.client_message_ids),
        )


async def compare(ways: Ways, *, seconds: float, rounds: int) -> list[tuple[Any, ...]]:
    from connections.manager import websocket_manager

    await websocket_manager.node.ensure_started()
    rows = []
    for ways.conversations in CONVERSATIONS:
        for writers in WRITERS:
            journal, usual = [], []
            for _ in range(rounds):
                journal.append(await measure(ways.journal, writers, seconds))
                usual.append(await measure(ways.usual, writers, seconds))
            rows.append((ways.conversations, writers, _median(journal), _median(usual)))
    await websocket_manager.node.stop()
    return rows


def _median(figures: list[Figure]) -> Figure:
    return Figure(
        *(
            statistics.median(getattr(one, name) for one in figures)
            for name in ("per_second", "p50", "p99", "cpu")
        )
    )


def table(rows: list[tuple[Any, ...]]) -> str:
    """The result as Markdown."""
    lines = [
        "| conversations | writers | journal: acks/s | p50 ms | p99 ms | CPU ms "
        "| usual way: acks/s | p50 ms | p99 ms | CPU ms | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for conversations, writers, ours, usual in rows:
        lines.append(
            f"| {conversations} | {writers} {_cells(ours)} {_cells(usual)} "
            f"| {ours.per_second / usual.per_second:.1f} × |"
        )
    return "\n".join(lines)


def _cells(figure: Figure) -> str:
    return f"| {figure.per_second:,.0f} | {figure.p50:.2f} | {figure.p99:.2f} | {figure.cpu:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="FULL")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("DATABASE_URL", f"sqlite:///{Path(folder) / 'benchmark.sqlite3'}")
        os.environ.update(
            SECRET_KEY="benchmark" * 6,
            LOG_LEVEL="ERROR",
            DJANGO_SETTINGS_MODULE="ovara.settings",
        )
        import django
        from django.conf import settings
        from django.core.management import call_command

        options = settings.DATABASES["default"].get("OPTIONS", {})
        if "init_command" in options:
            options["init_command"] += f" PRAGMA synchronous={arguments.synchronous};"
        django.setup()
        call_command("migrate", verbosity=0)
        ways = Ways()
        rows = asyncio.run(compare(ways, seconds=arguments.seconds, rounds=arguments.rounds))
        print(f"synchronous={arguments.synchronous}\n\n{table(rows)}")


if __name__ == "__main__":
    main()

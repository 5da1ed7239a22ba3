"""What a node does again and again, each in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from connections import metrics
from connections.maintenance import clean_up
from connections.registry import registry
from ovara import background
from ovara.conf import ovara_settings
from sessions_app.journal import journal
from sessions_app.notes import notes

if TYPE_CHECKING:
    from connections.node import Node

log = logging.getLogger("connections")

# A connection that another process asked to close, or that has lost its right to be here, is closed
# within this, whatever the layer does: a revoked token shall be out within a second.
REQUESTS_SECONDS = 0.8
# How late a deadline (idle, token, authentication) may be noticed.
DEADLINES_SECONDS = 0.25
QUEUES_SECONDS = 1.0


class Timetable:
    """The periodic tasks of one node."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, node: Node) -> None:
        settings = ovara_settings()

        async def clean() -> None:
            await clean_up(node)

        plan: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (settings.node_heartbeat_seconds, node.beat),
            (settings.node_heartbeat_seconds, node.reap),
            (min(REQUESTS_SECONDS, settings.node_heartbeat_seconds), node.close_requested),
            (REQUESTS_SECONDS, node.standing.look),
            (DEADLINES_SECONDS, node.local.check_deadlines),
            (settings.cleanup_interval_seconds, clean),
            (QUEUES_SECONDS, _measure_queues),
        ]
        self._tasks = [
            background.start(_every(seconds, work), name=f"every {seconds:g} s: {work.__name__}")
            for seconds, work in plan
        ]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` every so many seconds; an error is logged, and the next turn comes all the same."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            log.exception("periodic work failed, it is tried again in %g s", seconds)


async def _measure_queues() -> None:
    metrics.QUEUE_DEPTH.labels("journal").set(len(journal))
    metrics.QUEUE_DEPTH.labels("notes").set(len(notes))
    metrics.QUEUE_DEPTH.labels("registry").set(len(registry))

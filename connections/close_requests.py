"""Closing connections of any node, from any process: by the database, and quicker by the bus."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from connections import bus, selectors
from connections.close_codes import CloseCode
from connections.publication import group_name
from connections.registry import registry
from connections.registry.requests import RequestClose
from ovara.database import in_thread
from ovara.times import now

if TYPE_CHECKING:
    from connections.node import Node

log = logging.getLogger("connections")

# A year: beyond it, nobody means what they write.
MAX_INACTIVE_MINUTES = 525_600

# Connections in one request: under SQLite's limit of variables in a statement.
CHUNK = 500
NUDGE_SECONDS = 1.0

_NUDGE = {"action": "close_requested"}


async def request_close(node: Node, request: RequestClose) -> int:
    """Ask the nodes of some connections to close them.

    Returns:
        How many live connections were asked for.
    """
    if not request.connection_ids:
        return 0
    holders: dict[str, str] = await registry.commit(request)
    await _nudge(node, set(holders.values()) - {node.id})
    if node.running and node.id in holders.values():
        await node.close_requested()
    return len(holders)


async def _nudge(node: Node, holders: set[str]) -> None:
    """Only to be quicker: the nodes find the request in the database by themselves."""
    groups = [group_name("node", holder) for holder in sorted(holders)]
    if node.running:
        for group in groups:
            node.bus.publish(group, _NUDGE)
    elif bus.is_shared():
        try:
            async with asyncio.timeout(NUDGE_SECONDS):
                for group in groups:
                    await bus.send_once(group, _NUDGE)
        except Exception as error:
            # Whatever a layer raises when its server is away.
            log.warning("the channel layer failed, the database will do: %r", error)


def check_minutes(minutes: float) -> None:
    """Raise ValueError unless `minutes` is a time after which somebody may be called inactive."""
    if not 0 < minutes <= MAX_INACTIVE_MINUTES:
        raise ValueError(
            f"max_inactive_minutes is {minutes:g}: it must be over 0 and at most "
            f"{MAX_INACTIVE_MINUTES}."
        )


async def close_inactive(node: Node, minutes: float, *, dry_run: bool = False) -> int:
    """Close, with 4408, whoever sent nothing but `ping` for `minutes`; returns how many."""
    cutoff = now() - timedelta(minutes=minutes)
    if node.running:
        await node.beat()
    inactive = await in_thread(selectors.connections_inactive_since, cutoff)
    if dry_run:
        return len(inactive)
    reason = f"inactive for {minutes:g} minutes"
    closed = 0
    for start in range(0, len(inactive), CHUNK):
        some = tuple(inactive[start : start + CHUNK])
        request = RequestClose(some, CloseCode.IDLE, reason, inactive_before=cutoff)
        closed += await request_close(node, request)
    return closed

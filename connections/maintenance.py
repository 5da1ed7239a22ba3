"""Cleaning up: the same whether a node does it by itself, or `manage.py cleanup` does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connections.close_requests import close_inactive
from connections.registry.nodes import (
    connections_past_retention,
    connections_purge,
    lost_count,
    nodes_reap_lapsed,
)
from connections.resync import tell_doubts
from ovara.accounts.services import revoked_tokens_expired, revoked_tokens_purge
from ovara.conf import ovara_settings
from ovara.database import in_thread
from sessions_app.sessions import sessions_expired, sessions_purge

if TYPE_CHECKING:
    from connections.node import Node


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How many rows of each kind a cleanup took care of."""

    lost: int  # connections of dead nodes, closed
    purged: int  # closed connections past their retention, deleted
    sessions: int  # expired sessions, deleted
    tokens: int  # revoked tokens that are expired by now, deleted
    # Not a number of rows: see `Reaped`.
    in_doubt: set[str] | None = field(default_factory=set)


def registry_clean() -> Cleaned:
    """Close what dead nodes left, and delete what is past its time."""
    reaped = nodes_reap_lapsed()
    return Cleaned(
        lost=reaped.connections,
        purged=connections_purge(),
        sessions=sessions_purge(),
        tokens=revoked_tokens_purge(),
        in_doubt=reaped.in_doubt,
    )


def registry_due() -> Cleaned:
    """What `registry_clean` would take care of now."""
    return Cleaned(
        lost=lost_count(),
        purged=connections_past_retention().count(),
        sessions=sessions_expired().count(),
        tokens=revoked_tokens_expired().count(),
    )


async def clean_up(node: Node) -> None:
    """A node's own cleanup; inactive connections too, where that is switched on."""
    cleaned = await in_thread(registry_clean)
    tell_doubts(node, cleaned.in_doubt)
    if cleaned.lost:
        await node.settle()
    minutes = ovara_settings().cleanup_inactive_minutes
    if minutes:
        await close_inactive(node, minutes)

"""The job that closes a connection's row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from connections.models import CLOSE_REASON_MAX_LENGTH, Client, Connection, Subscription
from connections.registry.liveness import live_counts
from ovara.times import now
from sessions_app.sessions import sessions_touch


@dataclass(frozen=True, slots=True)
class Close:
    """A connection ended, for whatever cause."""

    connection_id: str
    client_id: str | None
    session_id: str | None
    code: int
    reason: str


def write_closes(jobs: Sequence[Close]) -> list[int]:
    """Close rows that are open; for each how many connections its client has left."""
    moment = now()
    by_cause: dict[tuple[int, str], list[str]] = defaultdict(list)
    for job in jobs:
        by_cause[job.code, job.reason[:CLOSE_REASON_MAX_LENGTH]].append(job.connection_id)
    for (code, reason), ids in by_cause.items():
        Connection.objects.filter(pk__in=ids, disconnected_at__isnull=True).update(
            disconnected_at=moment, close_code=code, close_reason=reason
        )
    ids = [job.connection_id for job in jobs]
    Subscription.objects.filter(connection_id__in=ids, left_at__isnull=True).update(left_at=moment)
    sessions_touch({job.session_id for job in jobs if job.session_id}, moment)
    clients = {job.client_id for job in jobs if job.client_id}
    if clients:
        Client.objects.filter(pk__in=clients).update(last_seen=moment)
    left = live_counts("client_id", clients)
    return [left[job.client_id] if job.client_id else 0 for job in jobs]

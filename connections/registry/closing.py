"""The job that closes a connection's row."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from connections.models import CLOSE_REASON_MAX_LENGTH, Client, Connection, Subscription
from connections.registry.liveness import live_counts
from ovara.ids import key_of
from ovara.prepared import PreparedUpdate
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
    by_cause: dict[tuple[int, str], list[uuid.UUID]] = defaultdict(list)
    for job in jobs:
        cause = job.code, job.reason[:CLOSE_REASON_MAX_LENGTH]
        by_cause[cause].append(key_of(job.connection_id))
    for (code, reason), keys in by_cause.items():
        _CLOSE.run([(keys, moment, code, reason)])
    _LEAVE.run([([key_of(job.connection_id) for job in jobs], moment)])
    sessions_touch({job.session_id for job in jobs if job.session_id}, moment)
    clients = {job.client_id for job in jobs if job.client_id}
    clients_touch(clients, moment)
    left = live_counts("client_id", clients)
    return [left[job.client_id] if job.client_id else 0 for job in jobs]


def clients_touch(client_ids: Collection[str], moment: datetime) -> None:
    """Say that these clients were here at `moment`."""
    if client_ids:
        _TOUCH_CLIENTS.run([([key_of(one) for one in client_ids], moment)])


def _close(
    keys: list[uuid.UUID], moment: datetime, code: int, reason: str
) -> tuple[QuerySet[Connection], dict[str, Any]]:
    rows = Connection.objects.filter(pk__in=keys, disconnected_at__isnull=True)
    return rows, {"disconnected_at": moment, "close_code": code, "close_reason": reason}


def _leave(
    keys: list[uuid.UUID], moment: datetime
) -> tuple[QuerySet[Subscription], dict[str, Any]]:
    rows = Subscription.objects.filter(connection_id__in=keys, left_at__isnull=True)
    return rows, {"left_at": moment}


_CLOSE = PreparedUpdate(_close)
_LEAVE = PreparedUpdate(_leave)
_TOUCH_CLIENTS = PreparedUpdate(
    lambda keys, moment: (Client.objects.filter(pk__in=keys), {"last_seen": moment})
)

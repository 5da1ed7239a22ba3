"""The job that asks a connection's own node to close it, whatever node or process that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connections.models import CLOSE_REASON_MAX_LENGTH, Connection
from connections.registry.liveness import live_among


@dataclass(frozen=True, slots=True)
class RequestClose:
    """Close these connections; with `inactive_before` only those that stay silent since."""

    connection_ids: tuple[str, ...]
    code: int
    reason: str
    inactive_before: datetime | None = None


def write_requests(jobs: Sequence[RequestClose]) -> list[dict[str, str]]:
    """Write the requests; for each the live connections it reached, and their nodes."""
    return [_write(job) for job in jobs]


def _write(job: RequestClose) -> dict[str, str]:
    nodes = {str(row.pk): str(row.node_id) for row in live_among(pk__in=job.connection_ids)}
    Connection.objects.filter(pk__in=list(nodes), disconnected_at__isnull=True).update(
        requested_close_code=job.code,
        requested_close_reason=job.reason[:CLOSE_REASON_MAX_LENGTH],
        requested_inactive_before=job.inactive_before,
    )
    return nodes

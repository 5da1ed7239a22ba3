"""When a connection must have said something, by what it is and what it has said."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from connections.close_codes import CloseCode
from connections.hub import ConnectionInfo
from ovara.conf import ovara_settings

# A client is told this long before its token ends, or at half of what is left of a short one.
EXPIRING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Missed:
    """A deadline that has passed."""

    code: CloseCode
    reason: str


@dataclass(frozen=True, slots=True)
class Expiring:
    """The token ends soon: time to renew it."""

    expires_at: datetime


def check(connection: ConnectionInfo) -> Missed | Expiring | None:
    """What is due for `connection` now; also sets when to look at it again.

    A frame only moves deadlines away, so a connection is not looked at before its
    `next_deadline_at`, and frames need not touch it.
    """
    at = time.monotonic()
    settings = ovara_settings()
    idle_at = connection.heard_at + settings.idle_timeout_seconds
    if at >= idle_at:
        return Missed(CloseCode.IDLE, f"no frame for {settings.idle_timeout_seconds:g} seconds")
    connection.next_deadline_at = idle_at
    if not connection.authenticated:
        auth_at = connection.opened_at + settings.auth_timeout_seconds
        if at >= auth_at:
            return Missed(CloseCode.UNAUTHENTICATED, "not authenticated in time")
        connection.next_deadline_at = min(idle_at, auth_at)
        return None
    return _check_token(connection, at)


def _check_token(connection: ConnectionInfo, at: float) -> Missed | Expiring | None:
    if connection.token is None:
        return None
    left = (connection.token.expires_at - datetime.now(UTC)).total_seconds()
    if left <= 0:
        return Missed(CloseCode.UNAUTHENTICATED, "the token has expired")
    connection.next_deadline_at = min(connection.next_deadline_at, at + left)
    if connection.expiring_told:
        return None
    tell_in = left - connection.expiring_lead
    if tell_in <= 0:
        connection.expiring_told = True
        return Expiring(connection.token.expires_at)
    connection.next_deadline_at = min(connection.next_deadline_at, at + tell_in)
    return None


def expiring_lead(expires_at: datetime) -> float:
    """How many seconds before `expires_at` the client is told."""
    left = (expires_at - datetime.now(UTC)).total_seconds()
    return max(0.0, min(EXPIRING_SECONDS, left / 2))

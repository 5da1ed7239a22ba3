"""Jobs that open a connection, and that authenticate one that is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model

from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.models import Connection
from connections.registry.gate import Admitted, Gate, Identity
from ovara.accounts.selectors import revoked_among
from ovara.errors import Unauthenticated
from ovara.prepared_insert import PreparedInsert
from sessions_app.sessions import OpenedSession, sessions_states


@dataclass(frozen=True, slots=True)
class Open:
    """A connection was accepted. `identity` is None where its token is still to come."""

    connection_id: str
    node_id: str
    identity: Identity | None
    authenticated: bool
    ip_address: str | None
    user_agent: str


@dataclass(frozen=True, slots=True)
class Authenticate:
    """An open connection brought its first token."""

    connection_id: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Renew:
    """An authenticated connection brought a new token of the same user."""

    connection_id: str
    session_id: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Confirm:
    """Server code vouches for a connection that was opened with an identity."""

    connection_id: str


def write_opens(jobs: Sequence[Open]) -> list[Admitted | Disconnect | None]:
    """Register connections; None for those without an identity, Disconnect for the refused."""
    gate = Gate([job.identity for job in jobs if job.identity], {job.ip_address for job in jobs})
    results: list[Admitted | Disconnect | None] = []
    rows: list[tuple[Any, ...]] = []
    for job in jobs:
        try:
            gate.check_address(job.ip_address)
            admitted = gate.admit(job.identity) if job.identity else None
        except Disconnect as refusal:
            results.append(refusal)
            continue
        gate.count_address(job.ip_address)
        rows.append(_row(job, admitted, gate.sessions.moment))
        results.append(admitted)
    gate.save()
    _INSERT.run(rows)
    return results


def write_authentications(jobs: Sequence[Authenticate]) -> list[Admitted | Exception]:
    """Give open connections their identity; Unauthenticated for a token that is of no use."""
    gate = Gate([job.identity for job in jobs], set())
    admissions: list[Admitted | Exception] = []
    for job in jobs:
        try:
            admissions.append(gate.admit(job.identity))
        except Disconnect as refusal:
            bad_token = refusal.code is CloseCode.UNAUTHENTICATED
            admissions.append(Unauthenticated(refusal.reason) if bad_token else refusal)
    gate.save()
    for job, admission in zip(jobs, admissions, strict=True):
        if isinstance(admission, Admitted):
            Connection.objects.filter(pk=job.connection_id).update(
                authenticated=True,
                user_id=admission.user.id,
                client_id=admission.client_id,
                session_id=admission.session.id,
                token_family=job.identity.token_family,
            )
    return admissions


def write_renewals(jobs: Sequence[Renew]) -> list[OpenedSession | Unauthenticated]:
    """Check the new tokens; for each the session, or Unauthenticated where nothing changes."""
    identities = [job.identity for job in jobs]
    users = {one.user_id for one in identities}
    active = get_user_model()._default_manager.filter(pk__in=users, is_active=True)
    good = {str(pk) for pk in active.values_list("pk", flat=True)}
    revoked = revoked_among({key for one in identities for key in one.token_keys})
    states = sessions_states({job.session_id for job in jobs})
    results: list[OpenedSession | Unauthenticated] = []
    for job in jobs:
        if job.identity.user_id not in good or revoked.intersection(job.identity.token_keys):
            results.append(Unauthenticated("This token was revoked: get a new one."))
            continue
        Connection.objects.filter(pk=job.connection_id).update(
            token_family=job.identity.token_family
        )
        state = states.get(job.session_id, {})
        results.append(OpenedSession(job.session_id, resumed=True, state=state))
    return results


def write_confirmations(jobs: Sequence[Confirm]) -> list[None]:
    """Mark connections as authenticated."""
    ids = [job.connection_id for job in jobs]
    Connection.objects.filter(pk__in=ids).update(authenticated=True)
    return [None] * len(jobs)


def _row(job: Open, admitted: Admitted | None, moment: datetime) -> tuple[Any, ...]:
    """The values of `_COLUMNS`."""
    return (
        job.connection_id,
        job.node_id,
        admitted.client_id if admitted else None,
        admitted.user.id if admitted else None,
        admitted.session.id if admitted else None,
        job.authenticated,
        job.identity.token_family if job.identity else "",
        moment,
        moment,
        moment,
        job.ip_address,
        job.user_agent,
        *_NOT_YET,
    )


_COLUMNS = (
    "id",
    "node_id",
    "client_id",
    "user_id",
    "session_id",
    "authenticated",
    "token_family",
    "connected_at",
    "last_seen",
    "last_active",
    "ip_address",
    "user_agent",
    "disconnected_at",
    "close_code",
    "close_reason",
    "requested_close_code",
    "requested_close_reason",
    "requested_inactive_before",
)
# The values of those columns that only the end fills.
_NOT_YET = (None, None, "", None, "", None)
_INSERT = PreparedInsert(Connection, *_COLUMNS)

"""Jobs that open a connection, and that authenticate one that is open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.contrib.auth import get_user_model

from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.models import Client, Connection
from connections.registry.liveness import live_counts
from ovara.accounts.selectors import revoked_among
from ovara.conf import ovara_settings
from ovara.errors import Unauthenticated
from ovara.ids import new_id
from ovara.times import now
from sessions_app.records import UserRef
from sessions_app.sessions import OpenedSession, SessionBook, sessions_states


@dataclass(frozen=True, slots=True)
class Identity:
    """What a token and a query bring. `token_keys`: the names by which the token can be revoked."""

    user_id: str
    client_id: str | None
    session_id: str | None
    token_keys: tuple[str, ...] = ()
    token_family: str = ""


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


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who the connection is, now that it is registered."""

    user: UserRef
    client_id: str
    session: OpenedSession
    client_connections: int


def write_opens(jobs: Sequence[Open]) -> list[Admitted | Disconnect | None]:
    """Register connections; None for those without an identity, Disconnect for the refused."""
    gate = _Gate([job.identity for job in jobs if job.identity], {job.ip_address for job in jobs})
    results: list[Admitted | Disconnect | None] = []
    rows: list[Connection] = []
    for job in jobs:
        try:
            gate.check_address(job.ip_address)
            admitted = gate.admit(job.identity) if job.identity else None
        except Disconnect as refusal:
            results.append(refusal)
            continue
        gate.count_address(job.ip_address)
        rows.append(_row(job, admitted))
        results.append(admitted)
    gate.save()
    Connection.objects.bulk_create(rows)
    return results


def write_authentications(jobs: Sequence[Authenticate]) -> list[Admitted | Exception]:
    """Give open connections their identity; Unauthenticated for a token that is of no use."""
    gate = _Gate([job.identity for job in jobs], set())
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


def _row(job: Open, admitted: Admitted | None) -> Connection:
    moment = now()
    return Connection(
        id=job.connection_id,
        node_id=job.node_id,
        client_id=admitted.client_id if admitted else None,
        user_id=admitted.user.id if admitted else None,
        session_id=admitted.session.id if admitted else None,
        authenticated=job.authenticated,
        token_family=job.identity.token_family if job.identity else "",
        connected_at=moment,
        last_seen=moment,
        last_active=moment,
        ip_address=job.ip_address,
        user_agent=job.user_agent,
    )


class _Gate:
    """Decides about one batch of identities with a fixed number of queries."""

    def __init__(self, identities: Sequence[Identity], addresses: Iterable[str | None]) -> None:
        settings = ovara_settings()
        self.per_client = settings.max_connections_per_client
        self.per_user = settings.max_connections_per_user
        self.per_address = settings.max_connections_per_address
        user_ids = {identity.user_id for identity in identities}
        users = get_user_model()._default_manager.filter(pk__in=user_ids, is_active=True)
        self.names = {str(pk): name for pk, name in users.values_list("pk", "username")}
        self.revoked = revoked_among({key for one in identities for key in one.token_keys})
        self.sessions = SessionBook(
            session_ids={one.session_id for one in identities if one.session_id},
            client_ids={one.client_id for one in identities if one.client_id},
        )
        client_ids = {one.client_id for one in identities if one.client_id}
        client_ids |= self.sessions.client_ids()
        rows = Client.objects.filter(pk__in=client_ids)
        self.owners = {str(pk): str(user) for pk, user in rows.values_list("pk", "user_id")}
        self.new_clients: dict[str, Client] = {}
        self.seen_clients: set[str] = set()
        self.by_client = live_counts("client_id", client_ids)
        self.by_user = live_counts("user_id", user_ids)
        self.by_address = live_counts("ip_address", {one for one in addresses if one})

    def check_address(self, address: str | None) -> None:
        if address and self.by_address[address] >= self.per_address:
            raise Disconnect(CloseCode.TOO_MANY, "too many connections of this address")

    def count_address(self, address: str | None) -> None:
        if address:
            self.by_address[address] += 1

    def admit(self, identity: Identity) -> Admitted:
        """Raise Disconnect, or take the identity in: client, session and counts."""
        name = self.names.get(identity.user_id)
        if name is None:
            raise Disconnect(CloseCode.UNAUTHENTICATED, "this account is gone or deactivated")
        if self.revoked.intersection(identity.token_keys):
            raise Disconnect(CloseCode.UNAUTHENTICATED, "this token was revoked")
        client_id = self._client(identity)
        if self.by_client[client_id] >= self.per_client:
            raise Disconnect(CloseCode.TOO_MANY, "too many connections of this client")
        if self.by_user[identity.user_id] >= self.per_user:
            raise Disconnect(CloseCode.TOO_MANY, "too many connections of this user")
        self.by_client[client_id] += 1
        self.by_user[identity.user_id] += 1
        if client_id not in self.owners:
            self.owners[client_id] = identity.user_id
            self.new_clients[client_id] = Client(id=client_id, user_id=identity.user_id)
        self.seen_clients.add(client_id)
        session = self.sessions.open(client_id=client_id, user_id=identity.user_id)
        user = UserRef(identity.user_id, name)
        return Admitted(user, client_id, session, self.by_client[client_id])

    def _client(self, identity: Identity) -> str:
        """The client that was brought, or the session's, or a new one."""
        client_id = identity.client_id
        if client_id is None and identity.session_id is not None:
            client_id = self.sessions.client_of(identity.session_id, identity.user_id)
        if client_id is None:
            return str(new_id())
        if self.owners.get(client_id, identity.user_id) != identity.user_id:
            raise Disconnect(CloseCode.FORBIDDEN)
        return client_id

    def save(self) -> None:
        """Write the clients and sessions that were taken in."""
        Client.objects.bulk_create(self.new_clients.values())
        known = self.seen_clients - self.new_clients.keys()
        if known:
            Client.objects.filter(pk__in=known).update(last_seen=now())
        self.sessions.save()

"""Who is let in: accounts, revoked tokens, the clients' owners and the limits of one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth import get_user_model

from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.models import Client
from connections.registry.closing import clients_touch
from connections.registry.liveness import live_counts, live_node_ids
from ovara.accounts.selectors import revoked_among
from ovara.conf import ovara_settings
from ovara.ids import key_of, new_text_id
from ovara.prepared import PreparedSelect, as_uuid
from ovara.prepared_insert import PreparedInsert
from sessions_app.records import UserRef
from sessions_app.sessions import OpenedSession, SessionBook


@dataclass(frozen=True, slots=True)
class Identity:
    """What a token and a query bring. `token_keys`: the names by which the token can be revoked."""

    user_id: str
    client_id: str | None
    session_id: str | None
    token_keys: tuple[str, ...] = ()
    token_family: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who the connection is, now that it is registered."""

    user: UserRef
    client_id: str
    session: OpenedSession
    client_connections: int


class Gate:
    """Decides about one batch of identities with a fixed number of queries."""

    def __init__(self, identities: Sequence[Identity], addresses: Iterable[str | None]) -> None:
        settings = ovara_settings()
        self.per_client = settings.max_connections_per_client
        self.per_user = settings.max_connections_per_user
        self.per_address = settings.max_connections_per_address
        user_ids = {identity.user_id for identity in identities}
        users = _USERS.rows(_uuids(user_ids)) if user_ids else []
        self.names = {as_uuid(pk): name for pk, name, is_active in users if is_active}
        self.revoked = revoked_among({key for one in identities for key in one.token_keys})
        self.sessions = SessionBook(
            session_ids={one.session_id for one in identities if one.session_id},
            client_ids={one.client_id for one in identities if one.client_id},
        )
        client_ids = {one.client_id for one in identities if one.client_id}
        client_ids |= self.sessions.client_ids()
        rows = _OWNERS.rows(_uuids(client_ids)) if client_ids else []
        self.owners = {as_uuid(pk): as_uuid(user) for pk, user in rows}
        self.new_clients: set[str] = set()
        self.seen_clients: set[str] = set()
        alive = live_node_ids()
        self.by_client = live_counts("client_id", client_ids, alive)
        self.by_user = live_counts("user_id", user_ids, alive)
        self.by_address = live_counts("ip_address", {one for one in addresses if one}, alive)

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
            self.new_clients.add(client_id)
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
            return new_text_id()
        if self.owners.get(client_id, identity.user_id) != identity.user_id:
            raise Disconnect(CloseCode.FORBIDDEN)
        return client_id

    def save(self) -> None:
        """Write the clients and sessions that were taken in."""
        moment = self.sessions.moment
        _INSERT_CLIENT.run(
            [(one, self.owners[one], "", moment, moment) for one in sorted(self.new_clients)]
        )
        clients_touch(self.seen_clients - self.new_clients, moment)
        self.sessions.save()


def _uuids(ids: Iterable[str]) -> list[UUID]:
    return [key_of(one) for one in ids]


_INSERT_CLIENT = PreparedInsert(Client, "id", "user_id", "label", "first_seen", "last_seen")
_USERS = PreparedSelect(
    lambda ids: (
        get_user_model()
        ._default_manager.filter(pk__in=ids)
        .order_by()
        .values_list("pk", "username", "is_active")
    )
)
_OWNERS = PreparedSelect(
    lambda ids: Client.objects.filter(pk__in=ids).order_by().values_list("pk", "user_id")
)

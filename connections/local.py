"""The connections of this process: opened, authenticated, closed.

The hub changes at once and without waiting; the registry and the bus follow.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import sys
import time
from typing import TYPE_CHECKING, Any

from connections import deadlines, metrics
from connections.close_codes import CloseCode, close_label, short_reason, should_reconnect
from connections.errors import Disconnect
from connections.frame_outbox import FrameOutbox
from connections.hub import ConnectionInfo
from connections.joining import join_conversation, leave_conversation
from connections.models import Connection
from connections.outbox import Outbox, Socket
from connections.protocol import disconnect_frame
from connections.publication import publication
from connections.registry import registry
from connections.registry.closing import Close
from connections.registry.gate import Admitted, Identity
from connections.registry.nodes import LOST_CODE
from connections.registry.opening import Authenticate, Confirm, Open
from connections.sockets import FrameSocket
from ovara.accounts.tokens import VerifiedToken
from ovara.conf import ovara_settings
from ovara.errors import NotFound
from ovara.ids import new_text_id
from ovara.logs import fields
from ovara.times import wire

if TYPE_CHECKING:
    from connections.node import Node

log = logging.getLogger("connections")

# A restart's clients come back within this, each at its own moment.
DRAIN_SPREAD_SECONDS = 5.0


class LocalConnections:
    """What happens to the connections of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._opening = 0
        # Bound once: every outbox has the same.
        self._on_overflow, self._on_broken = self._too_slow, self._broken
        self.beat_at = self.sessions_at = time.monotonic()

    def new_connection(
        self, socket: Socket, *, ip_address: str | None = None, user_agent: str = ""
    ) -> ConnectionInfo:
        """A connection that nobody knows of yet."""
        connection_id, max_bytes = new_text_id(), ovara_settings().outbox_max_bytes
        outbox: Outbox | FrameOutbox = (
            FrameOutbox(socket.transport, connection_id, max_bytes, self._on_overflow)
            if isinstance(socket, FrameSocket)
            else Outbox(socket, connection_id, max_bytes, self._on_overflow, self._on_broken)
        )
        return ConnectionInfo(
            connection_id,
            outbox,
            # One text for all who say the same.
            ip_address=ip_address and sys.intern(ip_address),
            user_agent=sys.intern(user_agent),
        )

    def _too_slow(self, connection_id: str) -> None:
        connection = self._node.hub.connections.get(connection_id)
        if connection is not None:
            reason = "this client reads too slowly"
            self.close(connection, CloseCode.OVERLOADED, reason, discard=True)

    def _broken(self, connection_id: str) -> None:
        self.forget(connection_id, LOST_CODE, "a send failed")

    async def open(
        self,
        connection: ConnectionInfo,
        identity: Identity | None,
        token: VerifiedToken | None = None,
    ) -> Admitted | None:
        """Register a connection; authenticated if it comes with a verified `token`.

        Raises:
            Disconnect: it is refused, or this node is full or drains.
            Overloaded: the database does not take it.
        """
        self._check_room()
        job = Open(
            connection.connection_id,
            self._node.id,
            identity,
            token is not None,
            connection.ip_address,
            connection.user_agent,
        )
        self._opening += 1
        try:
            admitted: Admitted | None = await registry.commit(job)
        except asyncio.CancelledError:
            # The peer has gone meanwhile; the row will be written all the same.
            self._close_row(connection, CloseCode.NORMAL, "gone before it was registered")
            raise
        finally:
            self._opening -= 1
        if admitted is not None:
            self._take_in(connection, admitted)
        if self._node.draining:
            # It was not here yet when all the others were sent away.
            self._close_row(connection, CloseCode.DRAINING, CloseCode.DRAINING.reason)
            raise _drained()
        if token is not None:
            set_token(connection, token)
        self._node.first_here(self._node.hub.add(connection))
        _log("connected", connection, address=connection.ip_address)
        if token is not None:
            self._now_authenticated(connection)
        return admitted

    def _check_room(self) -> None:
        if self._node.draining:
            raise _drained()
        here = len(self._node.hub.connections) + self._opening
        if here >= ovara_settings().max_connections_per_node:
            raise Disconnect(CloseCode.OVERLOADED, "this node is full", retry_after=_spread())

    async def authenticate(
        self,
        connection: ConnectionInfo,
        identity: Identity,
        token: VerifiedToken | None = None,
    ) -> Admitted:
        """Give an open connection its user.

        Raises:
            Unauthenticated: the token is of no use.
            Disconnect: the identity is refused.
        """
        admitted: Admitted = await registry.commit(Authenticate(connection.connection_id, identity))
        if connection.connection_id in self._node.hub.connections:
            self._take_in(connection, admitted)
            if token is not None:
                set_token(connection, token)
            self._now_authenticated(connection)
        return admitted

    async def confirm(self, connection: ConnectionInfo) -> None:
        """Server code vouches for a connection that came with an identity."""
        await registry.commit(Confirm(connection.connection_id))
        self._now_authenticated(connection)

    def _now_authenticated(self, connection: ConnectionInfo) -> None:
        if connection.connection_id in self._node.hub.connections:
            self._node.first_here(self._node.hub.authenticate(connection))
            _log("authenticated", connection)

    def _take_in(self, connection: ConnectionInfo, admitted: Admitted) -> None:
        connection.user = admitted.user
        connection.client_id = admitted.client_id
        connection.session_id = admitted.session.id
        # Itself it learns of it by `welcome`, or after its `authenticate`.
        self._tell_count(
            admitted.client_id, admitted.client_connections, exclude=connection.connection_id
        )

    def _tell_count(self, client_id: str, count: int, exclude: str | None = None) -> None:
        if not count - (exclude is not None):
            return  # there is nobody else to tell
        frame = {"type": "client_connections", "count": count}
        self._node.publish(publication("client", client_id, frame, exclude=exclude))

    # The end of a connection.

    def close(
        self,
        connection: ConnectionInfo,
        code: CloseCode | int,
        reason: str,
        *,
        retry_after: float | None = None,
        discard: bool = False,
    ) -> None:
        """Say `disconnect`, close the socket, and forget the connection at once.

        `discard`: what still waits for it is not sent any more.
        """
        farewell = disconnect_frame(code, reason, should_reconnect(code), retry_after)
        metrics.FRAMES_SENT.counts["disconnect"] += 1
        connection.outbox.close(farewell, int(code), short_reason(reason), discard=discard)
        self.forget(connection.connection_id, code, reason)

    def forget(self, connection_id: str, code: int, reason: str) -> bool:
        """The socket is gone or going: out of every index, and its row is closed."""
        connection = self._node.hub.connections.get(connection_id)
        if connection is None:
            return False
        self._node.typing.stop_all(connection)
        joined = bool(connection.joined)
        _, audiences = self._node.hub.remove(connection_id)
        self._node.last_here(audiences)
        metrics.CLOSES.labels(close_label(code)).inc()
        self._close_row(connection, code, reason)
        if joined:
            self._node.settle_later()
        duration = round(time.monotonic() - connection.opened_at, 3)
        _log("closed", connection, code=int(code), reason=reason, seconds=duration)
        return True

    def _close_row(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        client_id = connection.client_id if connection.user else None
        job = Close(connection.connection_id, client_id, connection.session_id, int(code), reason)
        # However long the database is away: until it is written, the row says that they are here.
        left = registry.begin(job, insist=True)
        left.add_done_callback(functools.partial(self._row_closed, job))

    def _row_closed(self, job: Close, left: asyncio.Future[int]) -> None:
        if (error := left.exception()) is not None:
            _not_closed(job, error)
        elif job.client_id is not None and self._node.running:
            self._tell_count(job.client_id, left.result())

    def close_all(self, code: CloseCode, reason: str) -> None:
        """Send everybody away, to come back spread over some seconds."""
        for connection in list(self._node.hub.connections.values()):
            self.close(connection, code, reason, retry_after=_spread())

    def close_as_requested(self, row: Connection) -> None:
        """Close what another process asked for on the connection's row."""
        connection = self._node.hub.connections.get(str(row.pk))
        if connection is None or row.requested_close_code is None:
            return
        silent_since = row.requested_inactive_before
        if silent_since is not None:
            silent_for = time.monotonic() - connection.active_at
            if time.time() - silent_for > silent_since.timestamp():
                return
        self.close(connection, row.requested_close_code, row.requested_close_reason)

    async def obey(self, command: dict[str, Any]) -> bool:
        """Do what the manager asks of one connection; False where it is not here."""
        connection = self._node.hub.connections.get(command["connection_id"])
        if connection is None:
            return False
        if command["action"] == "forget":
            return self.forget(connection.connection_id, command["code"], command["reason"])
        if not connection.authenticated:
            return False
        if command["action"] == "join":
            try:
                await join_conversation(self._node, connection, command["conversation_id"])
            except NotFound:
                return False
        else:
            await leave_conversation(self._node, connection, command["conversation_id"])
        return True

    # Time.

    async def check_deadlines(self) -> None:
        """Close who is idle, unauthenticated or expired, and tell whose token ends soon."""
        at = time.monotonic()
        due = [c for c in self._node.hub.connections.values() if c.next_deadline_at <= at]
        for connection in due:
            verdict = deadlines.check(connection)
            if isinstance(verdict, deadlines.Missed):
                self.close(connection, verdict.code, verdict.reason)
            elif isinstance(verdict, deadlines.Expiring):
                frame = {"type": "token_expiring", "expires_at": wire(verdict.expires_at)}
                self._node.hub.deliver(publication("connection", connection.connection_id, frame))

    def take_heard(self) -> tuple[list[str], list[str]]:
        """Connections heard, and active, since the last call."""
        since, self.beat_at = self.beat_at, time.monotonic()
        heard = [c for c in self._node.hub.connections.values() if c.heard_at >= since]
        active = [c.connection_id for c in heard if c.active_at >= since]
        return [c.connection_id for c in heard], active

    def take_used_sessions(self) -> list[str]:
        """The sessions of connections that were active since the last call."""
        since, self.sessions_at = self.sessions_at, time.monotonic()
        here = self._node.hub.connections.values()
        return [c.session_id for c in here if c.session_id and c.active_at >= since]


def set_token(connection: ConnectionInfo, token: VerifiedToken) -> None:
    """The connection now lives as long as `token` does."""
    connection.token = token
    connection.expiring_told = False
    connection.expiring_lead = deadlines.expiring_lead(token.expires_at)
    connection.next_deadline_at = 0.0


def _not_closed(job: Close, error: BaseException) -> None:
    # The reaper closes the row when this node has gone.
    log.error(fields("row_not_closed", connection=job.connection_id, error=error))


def _log(event: str, connection: ConnectionInfo, **more: Any) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    log.info(
        fields(
            event,
            connection=connection.connection_id,
            client=connection.client_id,
            user=connection.user.id if connection.user else None,
            session=connection.session_id,
            **more,
        )
    )


def _drained() -> Disconnect:
    return Disconnect(CloseCode.DRAINING, retry_after=_spread())


def _spread() -> float:
    settings = ovara_settings()
    least = settings.reconnect_min_delay_seconds
    return random.uniform(least, max(least, DRAIN_SPREAD_SECONDS))

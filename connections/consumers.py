"""One WebSocket: accept, register, read frames, hand each to its handler, say goodbye."""

from __future__ import annotations

import logging
import time

from channels.consumer import AsyncConsumer

from connections import metrics, protocol
from connections.auth import SCOPE_KEY, Credentials, Receive, Scope, Send
from connections.auth import selected_subprotocol as subprotocol_of
from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.handlers import HANDLERS, identity_of, lane_of, send
from connections.hub import ConnectionInfo
from connections.lanes import Lanes, Work
from connections.limits import TokenBucket
from connections.malformed import request_id_of
from connections.manager import websocket_manager
from connections.reception import (
    address_of,
    check_handshake,
    refuse,
    user_agent_of,
    welcome,
)
from connections.sockets import FrameSocket, socket_for
from connections.strikes import Strikes
from ovara.conf import ovara_settings
from ovara.errors import Invalid, OvaraError, RateLimited, Unauthenticated
from ovara.logs import fields

log = logging.getLogger("connections")

# How a connection ends whose client just went, or sent a close frame without a code.
NO_CODE = 1005


class OvaraConsumer(AsyncConsumer):
    """Speaks protocol version 1.

    Not Channels' own dispatch: that hops to a thread for every event, and gives every connection a
    channel, a queue and tasks of its own.
    """

    connection: ConnectionInfo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.node = websocket_manager.node
        if (await receive())["type"] != "websocket.connect":
            return
        await send({"type": "websocket.accept", "subprotocol": subprotocol_of(scope)})
        socket = socket_for(scope, send)
        self.connection = self.node.local.new_connection(
            socket, ip_address=address_of(scope), user_agent=user_agent_of(scope)
        )
        try:
            await self._register(scope[SCOPE_KEY])
        except Disconnect as refusal:
            await refuse(socket, self.connection, refusal)
            return
        if isinstance(socket, FrameSocket):
            socket.transport.text_received = self._receive_text
        try:
            await self._read(receive)
        finally:
            # Also where this task is cancelled, which is how Daphne shuts down.
            self.node.local.forget(self.connection.connection_id, 1006, "the server let it go")

    async def _register(self, credentials: Credentials) -> None:
        settings = ovara_settings()
        check_handshake(self.connection.ip_address, credentials)
        connection, token = self.connection, credentials.token
        connection.wanted_client_id = credentials.client_id
        connection.wanted_session_id = credentials.session_id
        identity = (
            identity_of(token, credentials.client_id, credentials.session_id) if token else None
        )
        try:
            await self.node.ensure_started()
            admitted = await self.node.local.open(connection, identity, token)
        except OvaraError as error:
            raise Disconnect(CloseCode.OVERLOADED, str(error), retry_after=1.0) from error
        self._bucket = TokenBucket(settings.frames_per_second, settings.frame_burst)
        self._strikes = Strikes()
        self._lanes = Lanes(self._perform)
        self._max_frame_bytes = settings.max_frame_bytes
        send(connection, "welcome", welcome(self.node.id, connection, admitted))

    async def _read(self, receive: Receive) -> None:
        """Until the socket ends, by whichever side."""
        connection = self.connection
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                code = event.get("code") or NO_CODE
                reason = event.get("reason") or "the client left"
                self.node.local.forget(connection.connection_id, code, reason)
                return
            if connection.connection_id in self.node.hub.connections:
                self._receive(event.get("text"), event.get("bytes"))

    def _receive_text(self, text: str) -> None:
        if self.connection.connection_id in self.node.hub.connections:
            self._receive(text, None)

    def _receive(self, text: str | None, binary: bytes | None) -> None:
        """Deal with one frame; never waits."""
        connection = self.connection
        connection.heard_at = time.monotonic()
        try:
            self._check_size(text, binary)
            self._dispatch(text)
        except Disconnect as ending:
            self._end(ending)
        except OvaraError as error:
            self._refuse_frame(error, _request_id(text))
        except Exception as error:
            self._internal(error, _request_id(text))

    def _check_size(self, text: str | None, binary: bytes | None) -> None:
        """A character is up to four bytes: only near the limit they have to be counted."""
        size = len(binary or b"") if text is None else len(text) * 4
        if size > self._max_frame_bytes and text is not None:
            size = len(text.encode("utf-8", "surrogatepass"))
        if size > self._max_frame_bytes:
            raise Disconnect(CloseCode.FRAME_TOO_LARGE)

    def _dispatch(self, text: str | None) -> None:
        try:
            frame = self._decode(text)
        except OvaraError:
            metrics.FRAMES_RECEIVED.labels("refused").inc()
            raise
        kind = type(frame)
        metrics.FRAMES_RECEIVED.labels(protocol.TYPE_NAMES[kind]).inc()
        self._strikes.valid()
        if kind is not protocol.Ping:
            self.connection.active_at = self.connection.heard_at
        if not self.connection.authenticated and kind is not protocol.Authenticate:
            raise Unauthenticated("Send authenticate first.")
        work = HANDLERS[kind](self.node, self.connection, frame)
        if work is not None:
            self._lanes.add(lane_of(frame), work, frame.id)

    def _decode(self, text: str | None) -> protocol.AnyRequest:
        wait = self._bucket.take()
        if wait:
            raise RateLimited("Too many frames: wait before the next.", retry_after=wait)
        if text is None:
            raise Invalid("Send text frames: this protocol has no binary ones.")
        return protocol.decode(text)

    async def _perform(self, work: Work, request_id: str | None) -> None:
        """Await what a handler has to wait for; its errors go the same way as the others'."""
        try:
            await work
        except Disconnect as ending:
            self._end(ending)
        except OvaraError as error:
            self._refuse_frame(error, request_id)
        except Exception as error:
            self._internal(error, request_id)

    def _refuse_frame(self, error: OvaraError, request_id: str | None) -> None:
        metrics.ERRORS.labels(error.code).inc()
        send(self.connection, "error", protocol.error_frame(error, request_id))
        ending = self._strikes.refused(error)
        if ending is not None:
            self._end(ending)

    def _internal(self, error: Exception, request_id: str | None) -> None:
        log.error(
            fields("handler_failed", connection=self.connection.connection_id), exc_info=error
        )
        self._refuse_frame(
            OvaraError("Something went wrong here. It is logged; try again."), request_id
        )

    def _end(self, ending: Disconnect) -> None:
        self.node.local.close(
            self.connection, ending.code, ending.reason, retry_after=ending.retry_after
        )


def _request_id(text: str | None) -> str | None:
    return None if text is None else request_id_of(text)


class NoSuchSocket(AsyncConsumer):
    """Any other address: HTTP 403 before the accept."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 1000})

"""An ASGI WebSocket for uvicorn on picows: `uvicorn --ws ovara.server.protocol:PicowsProtocol`.

uvicorn reads the HTTP request and hands over the transport. Until the application accepts or
refuses, this class is the transport's protocol; then `Connection` has it, and this one is only what
the application calls: gone with an application that let a handler take over.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from ovara.server import handshake
from ovara.server.connection import ABNORMAL, INTERNAL_ERROR, Connection
from ovara.server.frames import EXTENSION, binary_frame, text_frame
from ovara.server.mailbox import Event, Mailbox
from ovara.server.shared import Shared, shared_by

log = logging.getLogger("uvicorn.error")

# What a client may send before it has been accepted, which it should not do at all.
MAX_EARLY_BYTES = 65_536


class Phase(enum.Enum):
    """Where a connection is on its way from the request to its end."""

    REQUEST = enum.auto()
    WAITING = enum.auto()  # for the application's answer
    DENYING = enum.auto()  # a denial response has begun
    OPEN = enum.auto()
    OVER = enum.auto()


class PicowsProtocol(asyncio.Protocol):
    """One connection, as uvicorn and the application see it."""

    __slots__ = (
        "_app_state",
        "_config",
        "_connection",
        "_denial",
        "_early",
        "_key",
        "_mailbox",
        "_path",
        "_phase",
        "_server_state",
        "_shared",
        "_transport",
    )

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._shared: Shared = shared_by(config, server_state)
        self._phase = Phase.REQUEST
        self._mailbox: Mailbox
        self._transport: Any = None
        self._connection: Connection | None = None
        self._early = b""
        self._key = ""
        self._path = ""
        self._denial: tuple[int, handshake.Headers, bytes] | None = None

    # The transport's side, until the application accepts.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._mailbox = Mailbox(self._transport)
        self._shared.connections.add(self)
        # Now, while the transport knows it, but once it is done.
        asyncio.get_running_loop().call_soon(_let_go, self._transport.get_protocol())

    def data_received(self, data: bytes) -> None:
        if self._phase is not Phase.REQUEST:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                self._transport.abort()
            return
        method, target, headers = handshake.parse(data)
        try:
            self._key = handshake.check(method, headers)
        except handshake.BadHandshake as error:
            self._refuse(error.status, error.headers, str(error).encode())
            return
        self._phase = Phase.WAITING
        self._run(self._scope(target, headers))

    def connection_lost(self, error: Exception | None) -> None:
        """The client went before it was accepted."""
        if self._phase is not Phase.OVER:
            self._mailbox.closed(ABNORMAL, "")
        self._phase = Phase.OVER
        self._shared.connections.discard(self)

    def shutdown(self) -> None:
        """uvicorn ends."""
        if self._phase is not Phase.OVER:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, [], b"The server ends.")
        else:
            self._transport.close()

    # The application's side.

    def _scope(self, target: bytes, headers: handshake.Headers) -> dict[str, Any]:
        connection = self._connection = Connection(self._transport, self._mailbox, self._shared)
        # It has asked for the addresses already, which takes system calls.
        http = self._transport.get_protocol()
        scope = handshake.scope_of(
            target,
            headers,
            scheme="wss" if http.scheme == "https" else "ws",
            server=http.server,
            client=http.client,
            root_path=self._config.root_path,
            asgi_version=self._config.asgi_version,
            state=self._app_state.copy(),
        )
        scope["extensions"] = {
            "websocket.http.response": {},
            EXTENSION: {"transport": connection},
        }
        self._path = scope["path"]
        self._mailbox.put({"type": "websocket.connect"})
        return scope

    def _run(self, scope: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._run_application(scope))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    async def _run_application(self, scope: dict[str, Any]) -> None:
        code = 1000
        try:
            await self._config.loaded_app(scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception:
            log.exception("Exception in ASGI application")
            code = INTERNAL_ERROR
        if self._phase is Phase.OPEN and self._connection is not None:
            if code != 1000 or not self._connection.is_taken_over:
                self._connection.close(code, "")
        elif self._phase is not Phase.OVER:
            if code == 1000:
                log.error("The ASGI application returned without an answer to the handshake.")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, [], b"Internal Server Error")

    async def receive(self) -> Event:
        """ASGI's `receive`."""
        return await self._mailbox.get()

    async def send(self, message: Any) -> None:
        """ASGI's `send`; waits while the peer takes less than is sent.

        Raises:
            OSError: the client has gone.
            RuntimeError: not the time for such a message.
        """
        connection = self._connection
        if self._phase is Phase.OPEN and connection is not None:
            if not connection.is_writable:
                await connection.writable()
            self._send_open(connection, message)
        elif self._phase is Phase.WAITING:
            self._answer(message)
        elif self._phase is Phase.DENYING:
            self._deny(message)
        else:
            raise ClientDisconnected

    def _send_open(self, connection: Connection, message: Any) -> None:
        if message["type"] == "websocket.send":
            if connection.ended:
                raise ClientDisconnected
            data = message.get("bytes")
            connection.write_frame(
                text_frame(message["text"]) if data is None else binary_frame(data)
            )
        elif message["type"] == "websocket.close":
            connection.close(message.get("code") or 1000, message.get("reason") or "")
        else:
            raise RuntimeError(
                f"Got {message['type']!r} of an open WebSocket: send websocket.send or "
                "websocket.close."
            )

    def _answer(self, message: Any) -> None:
        """To the handshake."""
        if message["type"] == "websocket.accept":
            self._accept(message)
        elif message["type"] == "websocket.close":
            self._refuse(HTTPStatus.FORBIDDEN, [], b"")
        elif message["type"] == "websocket.http.response.start":
            self._denial = (message["status"], list(message.get("headers") or ()), b"")
            self._phase = Phase.DENYING
        else:
            raise RuntimeError(
                f"Got {message['type']!r} for a handshake: send websocket.accept, "
                "websocket.close or websocket.http.response.start."
            )

    def _accept(self, message: Any) -> None:
        assert self._connection is not None
        if self._transport.is_closing():
            raise ClientDisconnected
        given = self._server_state.default_headers + list(message.get("headers") or ())
        if message.get("subprotocol"):
            given.append((b"sec-websocket-protocol", message["subprotocol"].encode("latin1")))
        log.debug('"WebSocket %s" [accepted]', self._path)
        self._phase = Phase.OPEN
        self._transport.write(handshake.acceptance(self._key, given))
        self._shared.connections.discard(self)
        self._connection.open(self._early)
        self._early = b""

    def _deny(self, message: Any) -> None:
        if message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"Got {message['type']!r} within a denial response.")
        assert self._denial is not None
        status, headers, body = self._denial
        body += message.get("body", b"")
        self._denial = (status, headers, body)
        if not message.get("more_body", False):
            self._refuse(status, headers, body)

    def _refuse(self, status: int, headers: handshake.Headers, body: bytes) -> None:
        if self._path:
            log.info('"WebSocket %s" %d', self._path, status)
        self._phase = Phase.OVER
        self._mailbox.closed(ABNORMAL, "")
        if not self._transport.is_closing():
            self._transport.write(
                handshake.refusal(status, self._server_state.default_headers + headers, body)
            )
            self._transport.close()


def _let_go(http: Any) -> None:
    """End the circle of uvicorn's HTTP protocol and its parser: what is of no more use is freed
    now, rather than when the garbage collector finds it."""
    if getattr(http, "parser", None) is not None:
        http.parser = None

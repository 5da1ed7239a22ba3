"""One WebSocket: accept, register, and give what comes to its reader."""

from __future__ import annotations

from channels.consumer import AsyncConsumer

from connections.auth import SCOPE_KEY, Credentials, Receive, Scope, Send
from connections.auth import selected_subprotocol as subprotocol_of
from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.handlers import identity_of
from connections.handlers import send as greet
from connections.hub import ConnectionInfo
from connections.manager import websocket_manager
from connections.node import Node
from connections.reader import FrameReader
from connections.reception import (
    address_of,
    check_handshake,
    refuse,
    user_agent_of,
    welcome,
)
from connections.sockets import FrameSocket, socket_for
from ovara.errors import OvaraError


class OvaraConsumer(AsyncConsumer):
    """Speaks protocol version 1.

    Not Channels' own dispatch: that hops to a thread for every event, and gives every connection a
    channel, a queue and tasks of its own.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        node = websocket_manager.node
        if (await receive())["type"] != "websocket.connect":
            return
        await send({"type": "websocket.accept", "subprotocol": subprotocol_of(scope)})
        socket = socket_for(scope, send)
        connection = node.local.new_connection(
            socket, ip_address=address_of(scope), user_agent=user_agent_of(scope)
        )
        try:
            reader = await _register(node, connection, scope[SCOPE_KEY])
        except Disconnect as refusal:
            await refuse(socket, connection, refusal)
            return
        if isinstance(socket, FrameSocket):
            # The connection lives on without this coroutine.
            socket.transport.take_over(reader)
            return
        try:
            await _read(receive, reader)
        finally:
            # Also where this task is cancelled, which is how Daphne shuts down.
            node.local.forget(connection.connection_id, 1006, "the server let it go")


async def _register(
    node: Node, connection: ConnectionInfo, credentials: Credentials
) -> FrameReader:
    """Let a connection in, and greet it.

    Raises:
        Disconnect: it is refused.
    """
    check_handshake(connection.ip_address, credentials)
    token = credentials.token
    connection.wanted_client_id = credentials.client_id
    connection.wanted_session_id = credentials.session_id
    identity = identity_of(token, credentials.client_id, credentials.session_id) if token else None
    try:
        await node.ensure_started()
        admitted = await node.local.open(connection, identity, token)
    except OvaraError as error:
        raise Disconnect(CloseCode.OVERLOADED, str(error), retry_after=1.0) from error
    reader = FrameReader(node, connection)
    greet(connection, "welcome", welcome(node.id, connection, admitted))
    return reader


async def _read(receive: Receive, reader: FrameReader) -> None:
    """Until the socket ends, by whichever side."""
    while (event := await receive())["type"] != "websocket.disconnect":
        reader.receive(event.get("text"), event.get("bytes"))
    reader.closed(event.get("code") or 0, event.get("reason") or "")


class NoSuchSocket(AsyncConsumer):
    """Any other address: HTTP 403 before the accept."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 1000})

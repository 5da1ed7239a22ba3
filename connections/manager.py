"""The manager: every connection of the cluster, from any code of the project.

The hub knows this process's connections, the bus reaches the other nodes, the registry is the
database's memory; here they are put together. In a process that is no server (a shell, a command,
a task queue's worker) there is no hub to speak of, and everything goes by the bus and the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from connections import selectors
from connections.close_codes import CloseCode, check_close_code, default_reason
from connections.close_requests import check_minutes, close_inactive, request_close
from connections.hub import ConnectionInfo
from connections.node import Node
from connections.outbox import Socket
from connections.publication import AudienceKind, publication
from connections.reach import publish, send_to_holder
from connections.registry.gate import Identity
from connections.registry.requests import RequestClose
from connections.sync import SyncManager
from ovara import background
from ovara.background import on_main_loop
from ovara.database import in_thread
from ovara.errors import Forbidden
from ovara.ids import is_id
from sessions_app import posting
from sessions_app.posting import Sender
from sessions_app.records import MessageRecord

Frame = dict[str, Any]
Id = str | UUID


class WebSocketManager:
    """Knows the connections of each client, user and conversation, and sends to them.

    Ids are UUIDs, as objects or as text. An id that nobody knows reaches nobody: no exception.
    Every coroutine may be awaited in any loop; `sync` is the same for code that can't await.
    """

    def __init__(self) -> None:
        self.node = Node()
        self.sync = SyncManager(self)

    # What this process holds, to look at when debugging.

    @property
    def active_connections(self) -> Mapping[str, ConnectionInfo]:
        """connection_id → connection, of this process."""
        return MappingProxyType(self.node.hub.connections)

    @property
    def client_connections(self) -> Mapping[str, Mapping[str, ConnectionInfo]]:
        """client_id → {connection_id: connection}, of this process."""
        return MappingProxyType(self.node.hub.client_connections)

    @property
    def conversation_connections(self) -> Mapping[str, Mapping[str, ConnectionInfo]]:
        """conversation_id → {connection_id: connection}, of this process."""
        return MappingProxyType(self.node.hub.conversation_connections)

    # A connection's life.

    async def add_connection(
        self,
        websocket: Socket,
        client_id: Id | None = None,
        user_id: Id | None = None,
        session_id: Id | None = None,
    ) -> str:
        """Hold a socket and register it; it is not authenticated yet.

        In a process that is no server, the caller's loop becomes the one that serves it.

        Args:
            websocket: anything with `async send_text(str)` and `async close(code, reason)`.

        Raises:
            Disconnect: the connection is refused (unknown user, foreign client, too many).
            ValueError: an id that is no UUID.
        """
        connection = self.node.local.new_connection(websocket)
        connection.wanted_client_id = _optional_id(client_id, "client_id")
        connection.wanted_session_id = _optional_id(session_id, "session_id")
        user = _optional_id(user_id, "user_id")
        if not self.node.has_started:
            background.adopt(asyncio.get_running_loop())
        await on_main_loop(self._add(connection, _identity(connection, user) if user else None))
        return connection.connection_id

    async def _add(self, connection: ConnectionInfo, identity: Identity | None) -> None:
        await self.node.ensure_started()
        await self.node.local.open(connection, identity)

    async def authenticate_connection(self, connection_id: Id, user_id: Id | None = None) -> bool:
        """Vouch for a connection of this process: it is `user_id`'s (or whom it was opened for).

        Returns:
            False where the connection is not known here, or there is no user to vouch for.

        Raises:
            Forbidden: it is another user's.
            Disconnect: the connection is refused (unknown user, foreign client, too many).
        """
        connection = self.node.hub.connections.get(str(connection_id))
        user = _optional_id(user_id, "user_id")
        if connection is None or (user is None and connection.user is None):
            return False
        await on_main_loop(self._authenticate(connection, user))
        return True

    async def _authenticate(self, connection: ConnectionInfo, user_id: str | None) -> None:
        if connection.user is None:
            assert user_id is not None
            await self.node.local.authenticate(connection, _identity(connection, user_id))
        elif user_id in (None, connection.user.id):
            await self.node.local.confirm(connection)
        else:
            raise Forbidden("This connection is another user's: open one of its own for this one.")

    def touch(self, connection_id: Id) -> None:
        """A frame came in on a socket that you hold: its connection is neither idle nor inactive.

        Ovara's own sockets need no such word.
        """
        connection = self.node.hub.connections.get(str(connection_id))
        if connection is not None:
            connection.heard_at = connection.active_at = time.monotonic()

    async def join_conversation(self, connection_id: Id, conversation_id: Id) -> bool:
        """Join a connection, of any node, to a conversation its user has a part in.

        Returns:
            Whether it has joined. Of another node's connection it is only known that the node
            was asked to: its answer is not waited for.

        Raises:
            Forbidden: the connection has joined as many conversations as it may.
        """
        if not is_id(str(conversation_id)):
            return False
        return await self._act(connection_id, "join", conversation_id=str(conversation_id))

    async def leave_conversation(self, connection_id: Id, conversation_id: Id) -> bool:
        """Take a connection, of any node, out of a conversation."""
        return await self._act(connection_id, "leave", conversation_id=str(conversation_id))

    async def remove_connection(
        self, connection_id: Id, code: int = 1006, reason: str = ""
    ) -> bool:
        """Forget a connection whose socket is gone; its row is closed with `code` and `reason`.

        To end one whose socket is open, use `disconnect`.
        """
        return await self._act(connection_id, "forget", code=int(code), reason=reason)

    async def _act(self, connection_id: Id, action: str, **arguments: Any) -> bool:
        """Do something to a connection: here, or by the node that holds it."""
        command = {"action": action, "connection_id": str(connection_id), **arguments}
        if not is_id(command["connection_id"]):
            return False
        return await on_main_loop(self._act_on_loop(command))

    async def _act_on_loop(self, command: dict[str, Any]) -> bool:
        connection_id = command["connection_id"]
        if connection_id in self.node.hub.connections:
            return await self.node.local.obey(command)
        return await send_to_holder(self.node, connection_id, command)

    # Sending.

    async def send_to_connection(self, connection_id: Id, frame: Frame) -> None:
        """Send a frame, an object with a `type`, to one connection."""
        await self._send("connection", connection_id, frame)

    async def send_to_client(self, client_id: Id, frame: Frame) -> None:
        """Send a frame to all connections (tabs) of a client."""
        await self._send("client", client_id, frame)

    async def send_to_user(self, user_id: Id, frame: Frame) -> None:
        """Send a frame to all authenticated connections of a user."""
        await self._send("user", user_id, frame)

    async def send_to_conversation(
        self, conversation_id: Id, frame: Frame, exclude: Id | None = None
    ) -> None:
        """Send a frame to all connections that joined a conversation, but for `exclude`."""
        await self._send("conversation", conversation_id, frame, exclude)

    async def _send(
        self, kind: AudienceKind, target: Id, frame: Frame, exclude: Id | None = None
    ) -> None:
        """Raises ValueError for a frame without a `type`, and ChannelLayerNotShared."""
        item = publication(kind, str(target), frame, exclude=str(exclude) if exclude else None)
        if is_id(item.target):
            await on_main_loop(publish(self.node, item))

    async def post_message(
        self,
        conversation_id: Id,
        content: str,
        role: str = "assistant",
        sender: Sender = None,
        client_message_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> MessageRecord:
        """Store a message of server code, then deliver it like any other.

        It is stored also where this process can't deliver it; the log then says so. The same
        `client_message_id` again gets the first message.

        Args:
            sender: a user, or their id; None for server code's own. Needs no part in it.

        Raises:
            Invalid, TooLarge: the content, the role or the sender is not acceptable.
            NotFound: there is no such conversation.
            Overloaded: nothing was stored; try again.
        """
        return await posting.post_message(
            conversation_id=str(conversation_id),
            content=content,
            role=role,
            sender=sender,
            client_message_id=client_message_id,
            metadata=metadata,
        )

    # Ending connections, and looking at them.

    async def disconnect(
        self, connection_id: Id, code: int = CloseCode.DISCONNECTED, reason: str = ""
    ) -> bool:
        """End a connection of any node. Goes by the database, so it always works.

        Returns:
            Whether there was such a connection.

        Raises:
            ValueError: a code that a server can't close with.
        """
        check_close_code(code)
        if not is_id(str(connection_id)):
            return False
        request = RequestClose((str(connection_id),), int(code), reason or default_reason(code))
        return bool(await on_main_loop(request_close(self.node, request)))

    async def get_connection_stats(self) -> dict[str, Any]:
        """Statistics of the whole cluster, as `GET /api/connections/stats` answers them."""
        here = self.node.hub.counts() if self.node.running else None
        return await in_thread(selectors.connection_stats, self.node.id, here)

    async def cleanup_inactive_connections(
        self, max_inactive_minutes: float = 30, *, dry_run: bool = False
    ) -> int:
        """Close, with 4408, the connections that sent nothing but `ping` for so long.

        Returns:
            How many; with `dry_run`, how many it would be.

        Raises:
            ValueError: a number that is not over 0, or over a year.
        """
        check_minutes(max_inactive_minutes)
        return await on_main_loop(close_inactive(self.node, max_inactive_minutes, dry_run=dry_run))


def _identity(connection: ConnectionInfo, user_id: str) -> Identity:
    return Identity(user_id, connection.wanted_client_id, connection.wanted_session_id)


def _optional_id(value: Id | None, name: str) -> str | None:
    if value is not None and not is_id(str(value)):
        raise ValueError(f"{name} must be a UUID, in lower case and with hyphens.")
    return None if value is None else str(value)


websocket_manager = WebSocketManager()

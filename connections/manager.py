"""The manager: every connection of the cluster, from any code of the project.

The hub knows this process's connections, the bus reaches the other nodes, the registry is the
database's memory; here they are put together. In a process that is no server (a shell, a command,
a task queue's worker) there is no hub to speak of, and everything goes by the bus and the database.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from connections import bus, selectors
from connections.close_codes import CloseCode, default_reason
from connections.close_requests import close_inactive, request_close
from connections.errors import ChannelLayerNotShared
from connections.hub import ConnectionInfo
from connections.node import Node
from connections.outbox import Socket
from connections.publication import AudienceKind, Publication, group_name, publication
from connections.registry.opening import Identity
from connections.registry.requests import RequestClose
from connections.sync import SyncManager
from ovara.background import on_main_loop
from ovara.database import in_thread
from sessions_app import journal
from sessions_app.records import MessageRecord, UserRef

log = logging.getLogger(__name__)

Frame = dict[str, Any]


class WebSocketManager:
    """Knows the connections of each client, user and conversation, and sends to them.

    Ids are text (UUIDs). An id that nobody knows reaches nobody: no exception. Every coroutine may
    be awaited in any loop; `sync` is the same for code that can't await.
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
        client_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> str:
        """Hold a socket and register it; it is not authenticated yet.

        Args:
            websocket: anything with `async send_text(str)` and `async close(code, reason)`.

        Raises:
            Disconnect: the connection is refused (foreign client, too many).
        """
        identity = Identity(user_id, client_id, session_id) if user_id else None
        connection = self.node.local.new_connection(websocket)
        connection.wanted_client_id, connection.wanted_session_id = client_id, session_id
        await on_main_loop(self._add(connection, identity))
        return connection.connection_id

    async def _add(self, connection: ConnectionInfo, identity: Identity | None) -> None:
        await self.node.ensure_started()
        await self.node.local.open(connection, identity)

    async def authenticate_connection(self, connection_id: str, user_id: str | None = None) -> bool:
        """Vouch for a connection of this process: it is `user_id`'s (or whom it was opened for).

        Returns:
            False where the connection is not known here, or there is no user to vouch for.
        """
        connection = self.node.hub.connections.get(connection_id)
        if connection is None or (user_id is None and connection.user is None):
            return False
        await on_main_loop(self._authenticate(connection, user_id))
        return True

    async def _authenticate(self, connection: ConnectionInfo, user_id: str | None) -> None:
        if connection.user is not None:
            await self.node.local.confirm(connection)
        elif user_id is not None:
            identity = Identity(user_id, connection.wanted_client_id, connection.wanted_session_id)
            await self.node.local.authenticate(connection, identity)

    async def join_conversation(self, connection_id: str, conversation_id: str) -> bool:
        """Join a connection, of any node, to a conversation its user has a part in.

        Returns:
            Whether there is such an authenticated connection.

        Raises:
            NotFound: it is here, and its user has no part in the conversation.
        """
        return await self._act(connection_id, "join", conversation_id=conversation_id)

    async def leave_conversation(self, connection_id: str, conversation_id: str) -> bool:
        """Take a connection, of any node, out of a conversation."""
        return await self._act(connection_id, "leave", conversation_id=conversation_id)

    async def remove_connection(
        self, connection_id: str, code: int = 1006, reason: str = ""
    ) -> bool:
        """Forget a connection whose socket is gone; its row is closed with `code` and `reason`."""
        return await self._act(connection_id, "forget", code=code, reason=reason)

    async def _act(self, connection_id: str, action: str, **arguments: Any) -> bool:
        """Do something to a connection: here, or by the node that holds it."""
        return await on_main_loop(self._act_on_loop(connection_id, action, arguments))

    async def _act_on_loop(
        self, connection_id: str, action: str, arguments: dict[str, Any]
    ) -> bool:
        command = {"action": action, "connection_id": connection_id, **arguments}
        if connection_id in self.node.hub.connections:
            return await self.node.local.obey(command)
        holder = await in_thread(selectors.connection_node, connection_id)
        if holder is None:
            return False
        await self._send_to_group(group_name("node", holder), command)
        return True

    # Sending.

    async def send_to_connection(self, connection_id: str, frame: Frame) -> None:
        """Send a frame, an object with a `type`, to one connection."""
        item = publication("connection", connection_id, frame)
        await on_main_loop(self._send_to_connection(item))

    async def _send_to_connection(self, item: Publication) -> None:
        if item.target in self.node.hub.connections:
            self.node.hub.deliver(item)
            return
        holder = await in_thread(selectors.connection_node, item.target)
        if holder is not None:
            await self._send_to_group(group_name("node", holder), item)

    async def send_to_client(self, client_id: str, frame: Frame) -> None:
        """Send a frame to all connections (tabs) of a client."""
        await self._send("client", client_id, frame)

    async def send_to_user(self, user_id: str, frame: Frame) -> None:
        """Send a frame to all authenticated connections of a user."""
        await self._send("user", user_id, frame)

    async def send_to_conversation(
        self, conversation_id: str, frame: Frame, exclude: str | None = None
    ) -> None:
        """Send a frame to all connections that joined a conversation, but for `exclude`."""
        await self._send("conversation", conversation_id, frame, exclude)

    async def _send(
        self, kind: AudienceKind, target: str, frame: Frame, exclude: str | None = None
    ) -> None:
        await on_main_loop(self._publish(publication(kind, target, frame, exclude=exclude)))

    async def _publish(self, item: Publication) -> None:
        if self.node.running:
            self.node.publish(item)
        else:
            await self._send_to_group(item.group, item)

    async def _send_to_group(self, group: str, item: Publication | dict[str, Any]) -> None:
        if self.node.running:
            self.node.bus.publish(group, item)
        elif bus.is_shared():
            await bus.send_once(group, item)
        else:
            raise ChannelLayerNotShared

    async def post_message(
        self,
        conversation_id: str,
        content: str,
        role: str = "assistant",
        sender: UserRef | None = None,
        client_message_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> MessageRecord:
        """Store a message of server code, then deliver it like any other.

        It is stored also where this process can't deliver it; the log then says so.

        Raises:
            Invalid, TooLarge: the content is not acceptable.
            NotFound: there is no such conversation.
            Overloaded: nothing was stored; try again.
        """
        appended = await journal.post(
            conversation_id=conversation_id,
            content=content,
            role=role,
            sender=sender,
            client_message_id=client_message_id,
            metadata=metadata,
            require_participant=False,
        )
        return appended.message

    # Ending connections, and looking at them.

    async def disconnect(
        self, connection_id: str, code: int = CloseCode.DISCONNECTED, reason: str = ""
    ) -> bool:
        """End a connection of any node. Goes by the database, so it always works.

        Returns:
            Whether there was such a connection.
        """
        reason = reason or default_reason(code)
        request = RequestClose((connection_id,), code, reason)
        return bool(await on_main_loop(request_close(self.node, request)))

    async def get_connection_stats(self) -> dict[str, Any]:
        """Statistics of the whole cluster, as `GET /api/connections/stats` answers them."""
        return await in_thread(selectors.connection_stats)

    async def cleanup_inactive_connections(
        self, max_inactive_minutes: float = 30, *, dry_run: bool = False
    ) -> int:
        """Close, with 4408, the connections that sent nothing but `ping` for so long.

        Returns:
            How many; with `dry_run`, how many it would be.
        """
        return await on_main_loop(close_inactive(self.node, max_inactive_minutes, dry_run=dry_run))


websocket_manager = WebSocketManager()

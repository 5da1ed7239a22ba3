"""Who is typing: said by clients, ended by the server when they do not say it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from connections.hub import ConnectionInfo
from connections.publication import Publication, publication

# PROTOCOL: the server sends `false` itself after this.
TYPING_SECONDS = 5.0


class TypingNotes:
    """The connections of this node that are typing, each with the timer that ends it.

    Args:
        publish: sends a publication to every node.
    """

    def __init__(self, publish: Callable[[Publication], object]) -> None:
        self._publish = publish
        # connection_id → {conversation_id: timer}
        self._timers: dict[str, dict[str, asyncio.TimerHandle]] = {}
        # connection_id → {conversation_id: the newest frame that waits for its `join`}
        self._put_off: dict[str, dict[str, object]] = {}

    # Words that came before their `join` was answered.

    def put_off(self, connection: ConnectionInfo, conversation_id: str, frame: object) -> None:
        """Keep the newest frame that waits."""
        self._put_off.setdefault(connection.connection_id, {})[conversation_id] = frame

    def newest_put_off(self, connection: ConnectionInfo, conversation_id: str) -> object:
        """The newest frame that waits; None where none does."""
        return self._put_off.get(connection.connection_id, {}).get(conversation_id)

    def take_put_off(self, connection: ConnectionInfo, conversation_id: str) -> None:
        """It waits no more, or a newer one has come behind the `join`."""
        if (waiting := self._put_off.get(connection.connection_id)) is not None:
            waiting.pop(conversation_id, None)
            if not waiting:
                del self._put_off[connection.connection_id]

    # Words of those who have joined.

    def set(self, connection: ConnectionInfo, conversation_id: str, is_typing: bool) -> None:
        """Tell the others, and begin to wait for the next word."""
        was_typing = self._cancel(connection.connection_id, conversation_id)
        if is_typing:
            loop = asyncio.get_running_loop()
            timers = self._timers.setdefault(connection.connection_id, {})
            timers[conversation_id] = loop.call_later(
                TYPING_SECONDS, self.stop, connection, conversation_id
            )
        if is_typing or was_typing:
            self._tell(connection, conversation_id, is_typing)

    def stop(self, connection: ConnectionInfo, conversation_id: str) -> None:
        """End it, and tell the others if they thought so."""
        if self._cancel(connection.connection_id, conversation_id):
            self._tell(connection, conversation_id, False)

    def stop_all(self, connection: ConnectionInfo) -> None:
        """The connection is gone."""
        self._put_off.pop(connection.connection_id, None)
        for conversation_id in list(self._timers.get(connection.connection_id, ())):
            self.stop(connection, conversation_id)

    def _cancel(self, connection_id: str, conversation_id: str) -> bool:
        timers = self._timers.get(connection_id, {})
        timer = timers.pop(conversation_id, None)
        if not timers:
            self._timers.pop(connection_id, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _tell(self, connection: ConnectionInfo, conversation_id: str, is_typing: bool) -> None:
        frame = {
            "type": "typing",
            "conversation_id": conversation_id,
            "user": connection.user,
            "is_typing": is_typing,
        }
        self._publish(
            publication("conversation", conversation_id, frame, exclude=connection.connection_id)
        )

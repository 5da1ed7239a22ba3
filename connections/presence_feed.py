"""How presence is told: each join and leave by itself, and storms as one frame a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from connections.publication import Publication, publication
from connections.registry.presence import PresenceChange

# Joins and leaves that a conversation sees one by one in a second; PROTOCOL, `presence`.
SINGLE_FRAMES_A_SECOND = 5
PERIOD_SECONDS = 1.0


class PresenceFeed:
    """Turns presence changes into frames for the connections of this node.

    Args:
        deliver: puts a publication into the local outboxes.
    """

    def __init__(self, deliver: Callable[[Publication], object]) -> None:
        self._deliver = deliver
        # conversation_id → what happened there in this second
        self._windows: dict[str, _Window] = {}

    def tell(self, change: PresenceChange) -> None:
        """Tell one change, now or in this second's frame."""
        window = self._windows.get(change.conversation_id)
        if window is None:
            window = self._windows[change.conversation_id] = _Window()
            _later(PERIOD_SECONDS, self._next_second, change.conversation_id)
        if window.has_room_for(change):
            window.singles += 1
            self._tell_single(change)
            return
        window.many.append(change)
        if not window.told:
            window.told = True
            # Not at once: what happens in the same turn of the loop goes into the same frame.
            _later(0, self._tell_many, change.conversation_id)

    def _tell_single(self, change: PresenceChange) -> None:
        frame = {
            "type": f"user_{change.event}",
            "conversation_id": change.conversation_id,
            "user": change.user,
        }
        self._deliver(
            publication("conversation", change.conversation_id, frame, exclude_user=change.user.id)
        )

    def _tell_many(self, conversation_id: str) -> None:
        window = self._windows.get(conversation_id)
        if window is None or not window.many:
            return
        changes, window.many = window.many, []
        frame = {
            "type": "presence",
            "conversation_id": conversation_id,
            "changes": [
                {"event": one.event, "user": one.user, "state": one.state} for one in changes
            ],
        }
        self._deliver(publication("conversation", conversation_id, frame))

    def _next_second(self, conversation_id: str) -> None:
        """Tell what the last second kept back; forget the conversation when nothing happens."""
        window = self._windows.pop(conversation_id)
        if not window.many and not window.singles and not window.told:
            return
        self._windows[conversation_id] = fresh = _Window()
        _later(PERIOD_SECONDS, self._next_second, conversation_id)
        if window.many:
            fresh.many, fresh.told = window.many, True
            self._tell_many(conversation_id)


class _Window:
    """One second of one conversation. `told`: its one `presence` frame went out."""

    __slots__ = ("many", "singles", "told")

    def __init__(self) -> None:
        self.singles = 0
        self.many: list[PresenceChange] = []
        self.told = False

    def has_room_for(self, change: PresenceChange) -> bool:
        """Whether `change` is told by itself: not in a storm, and not before what waits of its
        user."""
        return (
            change.event != "state"
            and self.singles < SINGLE_FRAMES_A_SECOND
            and all(one.event == "state" and one.user != change.user for one in self.many)
        )


def _later(seconds: float, function: Callable[..., object], *args: Any) -> None:
    loop = asyncio.get_running_loop()
    if seconds:
        loop.call_later(seconds, function, *args)
    else:
        loop.call_soon(function, *args)

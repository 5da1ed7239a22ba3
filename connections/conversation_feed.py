"""What a participant hears of conversations they have not joined: the list's own live updates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from connections.bus import ALL_NODES
from connections.hub import Hub
from connections.publication import Publication, publication
from ovara import background
from ovara.database import in_thread
from sessions_app.models import Conversation
from sessions_app.selectors import unread_by_participant, unread_counts

# `conversation_updated` comes at most once in this time; PROTOCOL.
PERIOD_SECONDS = 1.0

Event = Literal["conversation_added", "conversation_removed", "conversation_updated"]


class ConversationFeed:
    """Tells participants of new, changed and removed conversations.

    Args:
        hub: this node's connections.
        publish: sends a publication to every node that has such connections.
        send: sends a command to the other nodes of a group.
    """

    def __init__(
        self,
        hub: Hub,
        publish: Callable[[Publication], object],
        send: Callable[[str, dict[str, Any]], object],
    ) -> None:
        self._hub = hub
        self._publish = publish
        self._send = send
        self._resting: set[str] = set()
        self._changed: set[str] = set()

    def changed(self, conversation_id: str) -> None:
        """A message, a read position or the title: tell every participant, soon."""
        if conversation_id in self._resting:
            self._changed.add(conversation_id)
            return
        self._resting.add(conversation_id)
        task = background.start(
            self._tell_all(conversation_id), name="conversation feed", delivers=True
        )
        # It rests when it has told: of two that overlap, the older could tell last.
        later = asyncio.get_running_loop().call_later
        task.add_done_callback(lambda _: later(PERIOD_SECONDS, self._rested, conversation_id))

    def _rested(self, conversation_id: str) -> None:
        self._resting.discard(conversation_id)
        if conversation_id in self._changed:
            self._changed.discard(conversation_id)
            self.changed(conversation_id)

    async def _tell_all(self, conversation_id: str) -> None:
        summary = await in_thread(_summary, conversation_id)
        if summary is None:
            return
        unread = dict(await in_thread(unread_by_participant, conversation_id))
        # One message for every node, not one for each participant.
        command = {"action": "conversation_updated", "summary": summary, "unread": unread}
        self.tell_here(command)
        self._send(ALL_NODES, command)

    def tell_here(self, command: dict[str, Any]) -> None:
        """Tell those participants of a changed conversation who are on this node."""
        here = self._hub.user_connections.keys() & command["unread"].keys()
        for user_id in here:
            frame = {
                "type": "conversation_updated",
                **command["summary"],
                "unread": command["unread"][user_id],
            }
            self._hub.deliver(publication("user", user_id, frame))

    async def added(self, conversation_id: str, user_id: str) -> None:
        """Tell a user of a conversation they now have a part in."""
        summary = await in_thread(_summary, conversation_id)
        if summary is None:
            return
        counts = await in_thread(unread_counts, conversation_ids=[conversation_id], user_id=user_id)
        unread = counts.get(conversation_id, 0)
        self._tell("conversation_added", user_id, {**summary, "unread": unread})

    async def removed(self, conversation_id: str, user_id: str) -> None:
        """Tell a user of a conversation they have no part in any more."""
        summary = await in_thread(_summary, conversation_id)
        if summary is not None:
            self._tell("conversation_removed", user_id, {**summary, "unread": 0})

    def _tell(self, event: Event, user_id: str, fields: dict[str, Any]) -> None:
        self._publish(publication("user", user_id, {"type": event, **fields}))


def _summary(conversation_id: str) -> dict[str, Any] | None:
    row = (
        Conversation.objects.filter(pk=conversation_id)
        .values_list("title", "last_sequence")
        .first()
    )
    if row is None:
        return None
    return {"conversation_id": conversation_id, "title": row[0], "last_sequence": row[1]}

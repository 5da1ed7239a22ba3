"""What a participant hears of their conversations, joined or not: the list's own live updates.

A change says only which conversation changed. Every node reads for itself what its own users shall
hear: after the change was stored, so that nobody is told of an older state than they knew, and for
all the conversations of the moment at once, however many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec

from connections.bus import ALL_NODES
from connections.frame_outbox import LINGER_SECONDS
from connections.hub import Hub
from connections.publication import Publication, publication
from ovara import background
from ovara.database import in_thread
from ovara.errors import Overloaded
from sessions_app.unread import ConversationNews, conversation_news

# `conversation_updated` comes at most once in this time; PROTOCOL.
PERIOD_SECONDS = 1.0
# One line may have waited for company, and the next not.
REST_SECONDS = PERIOD_SECONDS + LINGER_SECONDS
# What changes within this is read together.
GATHER_SECONDS = 0.02
# Told in one turn of the loop: well under a millisecond. Between two turns the writer's thread has
# its chance, which asks for the interpreter some twenty times a batch.
USERS_A_TURN = 20

Event = Literal["conversation_added", "conversation_removed", "conversation_updated"]


class ConversationFeed:
    """Tells participants of new, changed and removed conversations.

    Args:
        hub: this node's connections.
        publish: sends a publication to every node that has such connections.
        send: sends a command to the other nodes of a group.
        is_node: whether this process has connections.
    """

    def __init__(
        self,
        hub: Hub,
        publish: Callable[[Publication], object],
        send: Callable[[str, dict[str, Any]], object],
        is_node: Callable[[], bool],
    ) -> None:
        self._hub = hub
        self._publish = publish
        self._send = send
        self._is_node = is_node
        self.clear()

    def clear(self) -> None:
        """Forget everything: the timers of a loop that was closed will not come."""
        # Conversations to tell of next; those that were told of less than a period ago; and those
        # of these that have changed since.
        self._due: set[str] = set()
        self._resting: set[str] = set()
        self._changed: set[str] = set()
        # What changed here, and the other nodes have not been told.
        self._unsent: set[str] = set()

    def close(self) -> None:
        """This node stops: the others hear now what they would have heard in a moment."""
        if self._unsent:
            self._tell_others(self._unsent)
        self.clear()

    def changed(self, conversation_id: str) -> None:
        """A message, a read position or the title, by this process: tell every participant."""
        if not self._is_node():
            # It has nobody to tell, and may end before a period does.
            self._tell_others({conversation_id})
            return
        self._unsent.add(conversation_id)
        self.changed_somewhere([conversation_id])

    def changed_somewhere(self, conversation_ids: Iterable[str]) -> None:
        """Tell those participants who are on this node, soon."""
        for conversation_id in conversation_ids:
            if conversation_id in self._resting:
                self._changed.add(conversation_id)
                continue
            if not self._due:
                asyncio.get_running_loop().call_later(GATHER_SECONDS, self._begin)
            self._due.add(conversation_id)

    def _begin(self) -> None:
        due, self._due = self._due, set()
        if not due:
            # It was cleared meanwhile.
            return
        self._resting |= due
        if ours := due & self._unsent:
            self._unsent -= ours
            self._tell_others(ours)
        task = background.start(self._tell_here(due), name="conversation feed")
        # They rest when it has told: of two that overlap, the older could tell last.
        later = asyncio.get_running_loop().call_later
        task.add_done_callback(lambda _: later(REST_SECONDS, self._rested, due))

    def _rested(self, conversation_ids: set[str]) -> None:
        self._resting -= conversation_ids
        again = self._changed & conversation_ids
        self._changed -= again
        self.changed_somewhere(again)

    def _tell_others(self, conversation_ids: set[str]) -> None:
        command = {"action": "conversations_changed", "conversation_ids": sorted(conversation_ids)}
        self._send(ALL_NODES, command)

    async def _tell_here(self, conversation_ids: set[str]) -> None:
        here = set(self._hub.user_connections)
        if not here:
            return
        try:
            found = await in_thread(conversation_news, conversation_ids, here)
        except Overloaded:
            # Logged where it was met. Not forgotten: it is read again a period later.
            self._changed |= conversation_ids
            return
        # Everybody in turn, with pauses: these lines may wait, the messages in between may not.
        for told, (conversation_id, item) in enumerate(_updates(found), 1):
            self._hub.deliver_line(item, conversation_id)
            if told % USERS_A_TURN == 0:
                await asyncio.sleep(0)

    async def added(self, conversation_id: str, user_id: str) -> None:
        """Tell a user of a conversation they now have a part in."""
        for news in await in_thread(conversation_news, [conversation_id], {user_id}):
            unread = news.unread.get(user_id, 0)
            self._publish(_item("conversation_added", news, user_id, unread))

    async def removed(self, conversation_id: str, user_id: str) -> None:
        """Tell a user of a conversation they have no part in any more."""
        for news in await in_thread(conversation_news, [conversation_id], set()):
            self._publish(_item("conversation_removed", news, user_id, 0))


def _updates(found: Iterable[ConversationNews]) -> Iterator[tuple[str, Publication]]:
    """Each conversation's id, with `conversation_updated` for each of its users; encoded once for
    all who have as much to read."""
    for news in found:
        items: dict[int, Publication] = {}
        for user_id, unread in news.unread.items():
            if unread not in items:
                items[unread] = _item("conversation_updated", news, user_id, unread)
            yield news.conversation_id, msgspec.structs.replace(items[unread], target=user_id)


def _item(event: Event, news: ConversationNews, user_id: str, unread: int) -> Publication:
    frame = {
        "type": event,
        "conversation_id": news.conversation_id,
        "title": news.title,
        "last_sequence": news.last_sequence,
        "unread": unread,
    }
    return publication("user", user_id, frame)

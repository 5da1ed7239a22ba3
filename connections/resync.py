"""What a node does when publications may have been lost on the way: its clients look for gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from connections import metrics
from connections.bus import ALL_NODES
from connections.hub import ConnectionInfo, Hub
from connections.joining import expel_here
from connections.publication import group_name, publication
from ovara.database import in_thread
from sessions_app.selectors import participants_among

if TYPE_CHECKING:
    from connections.node import Node

# After an outage every node asks every other: within this, once is enough.
GATHER_SECONDS = 0.5

Place = tuple[str, str]  # conversation id, user id


class Resync:
    """Tells this node's connections to compare sequences and fetch what they miss."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._timer: asyncio.TimerHandle | None = None

    def look(self, group: str | None) -> None:
        """Tell those who have joined the conversation of `group`; with None everybody, soon."""
        if group is not None:
            self._tell_one(group)
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(GATHER_SECONDS, self._tell_all)

    def _tell_one(self, group: str) -> None:
        kind, _, conversation_id = group.partition(".")
        if kind == "conversation":
            frame = {"type": "resync", "conversation_id": conversation_id}
            self._hub.deliver(publication("conversation", conversation_id, frame))
            metrics.RESYNCS.inc()

    def _tell_all(self) -> None:
        self._timer = None
        metrics.RESYNCS.inc()
        for user_id in list(self._hub.user_connections):
            self._hub.deliver(publication("user", user_id, {"type": "resync"}))


def tell_doubts(node: Node, in_doubt: set[str] | None) -> None:
    """Something may be stored that nobody was told of: its node has died, or had no answer.

    Whoever has joined these conversations, on any node, shall compare; where there are too many to
    name them, everybody.
    """
    if in_doubt is None:
        node.resync.look(None)
        node.send(ALL_NODES, {"action": "resync"})
    for conversation_id in in_doubt or ():
        group = group_name("conversation", conversation_id)
        node.resync.look(group)
        node.send(group, {"action": "resync", "group": group})


async def expel_strangers(node: Node) -> None:
    """Out with who has no part in a conversation any more, though no other node could say so."""
    here = _places(node.hub.conversation_connections.items())
    if not here:
        return
    allowed = await in_thread(participants_among, here)
    for conversation_id, user_id in here - allowed:
        expel_here(node, conversation_id, user_id)


def _places(joined: Iterable[tuple[str, Mapping[str, ConnectionInfo]]]) -> set[Place]:
    return {
        (conversation_id, connection.user.id)
        for conversation_id, members in joined
        for connection in members.values()
        if connection.user is not None
    }

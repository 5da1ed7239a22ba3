"""This process in the cluster: its hub, its place on the bus, its row, and its periodic work."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from django.db import OperationalError

from connections import selectors
from connections.bus import ALL_NODES, Bus, is_shared, send_once
from connections.close_codes import CloseCode
from connections.conversation_feed import ConversationFeed
from connections.hub import Hub
from connections.joining import expel_here
from connections.local import LocalConnections
from connections.presence_feed import PresenceFeed
from connections.publication import Publication, group_name
from connections.registry import registry
from connections.registry.activity import Beat
from connections.registry.heartbeats import heartbeats
from connections.registry.nodes import (
    node_register,
    node_retire,
    nodes_reap,
    nodes_reap_own_host,
)
from connections.registry.presence import PresenceChange, Settle
from connections.resync import Resync, expel_strangers, tell_doubts
from connections.standing import Standing
from connections.timetable import Timetable
from connections.typing_notes import TypingNotes
from ovara import background
from ovara.conf import ovara_settings
from ovara.database import NOT_SERVED, in_thread
from ovara.database_checks import start_problem
from ovara.errors import OvaraError, Overloaded
from ovara.logs import fields
from sessions_app.journal import journal
from sessions_app.notes import notes

log = logging.getLogger("connections")

NOT_DELIVERED = (
    "Stored, but not delivered: this process shares no channel layer with the server. "
    "Set REDIS_URL for both."
)
JOIN_NODES = (
    "These servers share a database, but can't reach each other's connections. "
    "Set REDIS_URL for all of them, or run one."
)
# How long after the grace a leave is announced, at most.
SETTLE_SLACK_SECONDS = 0.1
# Sessions of active connections are prolonged every so many heartbeats.
SESSION_BEATS = 30


class Node:
    """One server process. In any other process it exists, but never runs."""

    def __init__(self) -> None:
        self.id = ""
        self.draining = False
        self.bus: Bus
        self.hub = Hub()
        self.local = LocalConnections(self)
        self.presence_feed = PresenceFeed(self.hub.deliver)
        self.conversation_feed = ConversationFeed(
            self.hub, self.publish, self.send, lambda: self.running
        )
        self.standing = Standing(self.hub, self.local.close)
        self.typing = TypingNotes(self.publish)
        self.resync = Resync(self.hub)
        self._timetable = Timetable()
        self._started: asyncio.Future[None] | None = None
        self._running = False
        self._last_settle_due = 0.0
        self._beats = 0
        os.register_at_fork(after_in_child=self._leave_to_parent)

    # Starting and stopping.

    @property
    def running(self) -> bool:
        """Whether it takes part in the cluster: a loop that was closed without `stop` does not."""
        return self._running and self.has_started

    @property
    def has_started(self) -> bool:
        """Whether it runs, or is about to, in a loop that is still open."""
        started = self._started
        return started is not None and not started.get_loop().is_closed()

    async def ensure_started(self) -> None:
        """Start once, in the loop that asks first; everybody else waits for that.

        Raises:
            what the start raised, for every caller, until one succeeds.
        """
        if self.draining or self.running:
            return
        started = self._started
        if started is None or not self.has_started:
            # What a loop held that was closed without `stop` has gone with it.
            self._running = False
            self.hub.clear()
            self.conversation_feed.clear()
            started = self._started = asyncio.ensure_future(self._start())
        try:
            await asyncio.shield(started)
        except Exception:
            # Another caller may have begun the next start by now.
            if self._started is started:
                self._started = None
            raise

    def _leave_to_parent(self) -> None:
        """A forked child is no node: the loop and the sockets are its parent's. It takes no lock,
        which another of the parent's threads may have held."""
        self.id, self._started = "", None

    async def _start(self) -> None:
        background.adopt(asyncio.get_running_loop())
        if problem := await in_thread(start_problem):
            # What is wrong is for the log, not for clients.
            raise Overloaded(NOT_SERVED) from OperationalError(problem)
        row = await in_thread(node_register)
        self.id = str(row.pk)
        reaped = await in_thread(nodes_reap_own_host, row.pk)
        self.bus = Bus(self.id, self.hub.deliver, self._command, self._gap)
        await self.bus.start()
        self.bus.join(group_name("node", self.id))
        self._running = True
        self._timetable.start(self)
        closed = reaped.connections
        log.info(
            fields("node_started", node=self.id, host=row.hostname, pid=row.pid, reaped=closed)
        )
        tell_doubts(self, reaped.in_doubt)
        others = 0 if is_shared() else await in_thread(selectors.other_nodes, self.id)
        if others:
            log.warning(fields("nodes_apart", node=self.id, others=others, help=JOIN_NODES))

    def send_away(self) -> None:
        """Take nobody in any more, and send everybody to come back elsewhere; never waits."""
        if not self.draining:
            self.draining = True
            self.local.close_all(CloseCode.DRAINING, CloseCode.DRAINING.reason)

    async def drain(self) -> None:
        """Send everybody away, then stop."""
        self.send_away()
        await self.stop()

    async def stop(self) -> None:
        """Flush the queues, close the rows, leave the cluster."""
        if not self.running:
            return
        self.conversation_feed.close()
        self._running = False
        self._timetable.stop()
        await asyncio.gather(*(asyncio.to_thread(one.close) for one in (journal, notes, registry)))
        await self.bus.stop()
        await in_thread(node_retire, UUID(self.id))
        background.release(asyncio.get_running_loop())
        self._started = None
        log.info(fields("node_stopped", node=self.id))
        self.id = ""

    # Delivering.

    def publish(self, item: Publication) -> None:
        """Deliver here, and send to the other nodes that have such connections."""
        self.hub.deliver(item)
        self.send(item.group, item)

    def send(self, group: str, item: Publication | dict[str, Any]) -> None:
        """Send to the other nodes of a group; from a process that is no node, to all of them."""
        if self.running:
            self.bus.publish(group, item)
        elif is_shared():
            background.start(send_once(group, item), name="send once", delivers=True)
        elif not self.has_started:
            log.warning(NOT_DELIVERED)

    def announce(self, changes: Iterable[PresenceChange]) -> None:
        """Tell everybody, on every node, who came, went, or looked away."""
        for change in changes:
            self.presence_feed.tell(change)
            item = {"action": "presence", "change": msgspec.to_builtins(change)}
            self.send(group_name("conversation", change.conversation_id), item)

    def bus_problem(self) -> str | None:
        """What `readyz` and the metrics say alike: whether this node's own probes come back."""
        if self.running and not self.bus.is_up:
            return "this node's probe has not come back from the channel layer"
        return None

    def first_here(self, audiences: Sequence[tuple[str, str]]) -> None:
        """Audiences that have their first connection on this node."""
        for kind, target in audiences:
            self.bus.join(group_name(kind, target))

    def last_here(self, audiences: Sequence[tuple[str, str]]) -> None:
        """Audiences that have no connection on this node any more."""
        for kind, target in audiences:
            self.bus.leave(group_name(kind, target))

    def _command(self, command: dict[str, Any]) -> None:
        """What another process asks of this node; see `obey` in local.py."""
        if command["action"] == "resync":
            self.resync.look(command.get("group"))
        elif command["action"] == "conversations_changed":
            self.conversation_feed.changed_somewhere(command["conversation_ids"])
        elif command["action"] == "presence":
            self.presence_feed.tell(msgspec.convert(command["change"], PresenceChange))
        elif command["action"] == "expel":
            expel_here(self, command["conversation_id"], command["user_id"])
        elif command["action"] == "close_requested":
            background.start(self.close_requested(), name="close requested")
        else:
            background.start(self._obey(command), name=f"command {command['action']}")

    def _gap(self, group: str | None) -> None:
        """Publications may have passed this node by; and those it sent, any other."""
        self.resync.look(group)
        if group is not None:
            return
        self.bus.publish(ALL_NODES, {"action": "resync"})
        background.start(expel_strangers(self), name="expel strangers")

    async def _obey(self, command: dict[str, Any]) -> None:
        try:
            await self.local.obey(command)
        except OvaraError as error:
            log.warning(
                fields(
                    "command_refused",
                    action=command["action"],
                    connection=command["connection_id"],
                    reason=error,
                )
            )

    # Periodic work.

    async def beat(self) -> None:
        """Say in the database that this node lives, and who of its connections was heard."""
        self._beats += 1
        since = self.local.beat_at, self.local.sessions_at
        heard, active = self.local.take_heard()
        sessions = [] if self._beats % SESSION_BEATS else self.local.take_used_sessions()
        try:
            alive = await registry.commit(Beat(self.id, heard, active, sessions))
        except OvaraError:
            # Nothing was written: say the same again next time.
            self.local.beat_at, self.local.sessions_at = since
            raise
        heartbeats.beaten()
        if not alive:
            log.error(fields("node_taken_for_dead", node=self.id))
            # Its connections were closed in the registry: they come back and are registered anew.
            self.local.close_all(CloseCode.DRAINING, "this node was taken for dead")
        if not self.bus.is_up:
            await expel_strangers(self)

    async def close_requested(self) -> None:
        """Close the connections of this node that some process asked to close."""
        for row in await in_thread(selectors.requested_closes, self.id):
            self.local.close_as_requested(row)

    def settle_later(self) -> None:
        """Somebody left a conversation: look again when their grace is over."""
        loop = asyncio.get_running_loop()
        due = loop.time() + ovara_settings().presence_grace_seconds + SETTLE_SLACK_SECONDS
        # One look serves everybody who left within the slack before.
        if due - self._last_settle_due > SETTLE_SLACK_SECONDS / 2:
            self._last_settle_due = due
            loop.call_at(due, self._settle_now)

    def _settle_now(self) -> None:
        if self.running:
            background.start(self.settle(), name="settle")

    async def reap(self) -> None:
        """Close what dead nodes left, and announce who has left for good."""
        tell_doubts(self, (await in_thread(nodes_reap)).in_doubt)
        await self.settle()

    async def settle(self) -> None:
        """Announce who has left for good."""
        self.announce(await registry.commit(Settle()))

"""Joining and leaving a conversation, so that nothing is missed and nothing comes twice.

While a join looks into the database, what is published waits; then the answer says up to which
sequence the client knows everything, and from there on messages come live.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from connections import metrics, selectors
from connections.bus import is_shared
from connections.close_codes import CloseCode
from connections.close_requests import request_close
from connections.hub import ConnectionInfo
from connections.publication import Publication, group_name
from connections.registry import registry
from connections.registry.presence import Expel, Subscribe, Unsubscribe
from connections.registry.requests import RequestClose
from ovara import background
from ovara.conf import ovara_settings
from ovara.database import in_thread
from ovara.errors import Forbidden, NotFound, Overloaded
from ovara.logs import fields
from sessions_app.models import Conversation
from sessions_app.records import MessageRecord
from sessions_app.selectors import history, is_participant

if TYPE_CHECKING:
    from connections.node import Node

log = logging.getLogger("connections")

# Messages in one answer; PROTOCOL, `join`.
RECOVERY_LIMIT = 200


class JoinAnswer(msgspec.Struct, kw_only=True):
    """What the `ack` of a `join` carries; the last three only where `since` was given."""

    conversation_id: str
    sequence: int
    epoch: str
    presence: list[dict[str, Any]]
    recovered: bool | None = None
    messages: list[MessageRecord] | None = None
    has_more: bool | None = None


async def join_conversation(
    node: Node,
    connection: ConnectionInfo,
    conversation_id: str,
    *,
    since: int | None = None,
    epoch: str | None = None,
    answer: Callable[[JoinAnswer], object] = lambda _: None,
) -> None:
    """Join; `answer` is called with what to tell the client before anything comes live.

    Raises:
        NotFound: there is no such conversation, or the connection's user has no part in it.
        Forbidden: this connection has joined as many as it may.
        Overloaded: the database does not take it.
    """
    await _check_count(connection, conversation_id)
    is_first = not node.hub.holds("conversation", conversation_id)
    if not node.hub.begin_join(connection, conversation_id):
        raise NotFound
    if is_first:
        node.first_here([("conversation", conversation_id)])
    subscribed = False
    try:
        changes = await registry.commit(_subscribe(node, connection, conversation_id))
        subscribed = True
        # Whatever becomes of this join: a later one of the same user finds them present already.
        node.announce(changes)
        await node.bus.joined(group_name("conversation", conversation_id))
        found = await in_thread(look_up, conversation_id, since, epoch)
        if conversation_id in connection.joining:
            await check_counted(node, connection, found.presence)
        waited = node.hub.finish_join(connection, conversation_id, found.sequence)
        if waited is None:
            raise NotFound
    except BaseException:
        _deliver(connection, node.hub.abandon_join(connection, conversation_id))
        _clear_away(node, connection, conversation_id, subscribed)
        raise
    answer(found)
    _deliver(connection, waited)
    metrics.JOINS.inc()
    log.info(
        fields(
            "joined",
            connection=connection.connection_id,
            client=connection.client_id,
            user=connection.user and connection.user.id,
            session=connection.session_id,
            conversation=conversation_id,
            since=since,
            recovered=found.recovered,
        )
    )


async def _check_count(connection: ConnectionInfo, conversation_id: str) -> None:
    most = ovara_settings().max_conversations_per_connection
    others = connection.joining.union(connection.joined) - {conversation_id}
    if len(others) < most:
        return
    user_id = connection.user.id if connection.user else ""
    if not await in_thread(is_participant, conversation_id=conversation_id, user_id=user_id):
        raise NotFound
    raise Forbidden(f"This connection has joined {most} conversations: leave one first.")


def _subscribe(node: Node, connection: ConnectionInfo, conversation_id: str) -> Subscribe:
    assert connection.user is not None and connection.client_id is not None
    return Subscribe(
        connection.connection_id,
        conversation_id,
        connection.user,
        connection.client_id,
        node.id,
        connection.is_away,
    )


def _deliver(connection: ConnectionInfo, items: list[Publication]) -> None:
    for item in items:
        connection.outbox.put(item.text, item.droppable)


def _clear_away(
    node: Node, connection: ConnectionInfo, conversation_id: str, subscribed: bool
) -> None:
    """Take back what a failed join has left behind."""
    if not node.hub.holds("conversation", conversation_id):
        node.last_here([("conversation", conversation_id)])
    if subscribed and conversation_id not in connection.joined:
        undo = _unsubscribe(node, connection, conversation_id, insist=True)
        background.start(undo, name="unsubscribe")


def look_up(conversation_id: str, since: int | None, epoch: str | None) -> JoinAnswer:
    """What a joining client needs to know; in a reader thread.

    Raises:
        NotFound: the conversation was deleted meanwhile.
    """
    row = (
        Conversation.objects.filter(pk=conversation_id)
        .values_list("epoch", "last_sequence")
        .first()
    )
    if row is None:
        raise NotFound
    found = JoinAnswer(
        conversation_id=conversation_id,
        epoch=row[0],
        sequence=row[1],
        presence=selectors.presence(conversation_id),
    )
    if since is not None:
        _recover(found, since, epoch)
    return found


async def check_counted(
    node: Node, connection: ConnectionInfo, present: list[dict[str, Any]]
) -> None:
    """Whoever asks who is present is so themselves. Where the database does not say it, other nodes
    took this one for dead, and it has yet to hear of it: its heartbeat sends everybody away, to be
    registered anew.

    Raises:
        Overloaded: what was read is not true.
    """
    assert connection.user is not None
    own = next((one for one in present if one["user"]["id"] == connection.user.id), None)
    if own is None or not own["connections"]:
        await node.beat()
        raise Overloaded("This node was taken for dead: connect again.")


def _recover(found: JoinAnswer, since: int, epoch: str | None) -> None:
    if since > found.sequence or (epoch is not None and epoch != found.epoch):
        found.recovered, found.messages, found.has_more = False, [], False
        metrics.RECOVERIES.labels("anew").inc()
        return
    page = history(conversation_id=found.conversation_id, after=since, limit=RECOVERY_LIMIT)
    # What was committed since `sequence` was read comes live.
    known = [message for message in page.messages if message.sequence <= found.sequence]
    newest = known[-1].sequence if known else since
    found.recovered, found.messages, found.has_more = True, known, newest < found.sequence
    metrics.RECOVERIES.labels("partial" if found.has_more else "recovered").inc()


async def leave_conversation(node: Node, connection: ConnectionInfo, conversation_id: str) -> None:
    """Leave; also what was not joined."""
    if conversation_id not in connection.joined:
        return
    # First the database: where that takes nothing, nothing has changed.
    await _unsubscribe(node, connection, conversation_id)
    node.typing.stop(connection, conversation_id)
    node.last_here(node.hub.leave(connection, conversation_id))


async def _unsubscribe(
    node: Node, connection: ConnectionInfo, conversation_id: str, *, insist: bool = False
) -> None:
    await registry.commit(Unsubscribe(connection.connection_id, conversation_id), insist=insist)
    node.settle_later()


def expel_here(node: Node, conversation_id: str, user_id: str) -> None:
    """A user has no part in a conversation any more: out, all their connections of this node."""
    for connection in node.hub.members("user", user_id):
        node.typing.stop(connection, conversation_id)
        node.last_here(node.hub.leave(connection, conversation_id))


async def expel(node: Node, conversation_id: str, user_id: str) -> None:
    """The same on every node, and in the database."""
    if not node.running and not is_shared():
        await _send_back(node, conversation_id, user_id)
    expel_here(node, conversation_id, user_id)
    command = {"action": "expel", "conversation_id": conversation_id, "user_id": user_id}
    node.send(group_name("conversation", conversation_id), command)
    node.announce(await registry.commit(Expel(conversation_id, user_id), insist=True))


async def _send_back(node: Node, conversation_id: str, user_id: str) -> None:
    """From a process that reaches nobody: the database ends the user's connections that have
    joined; they come back at once, and this conversation refuses them."""
    ids = await in_thread(selectors.connections_joined, conversation_id, user_id)
    reason = "taken out of a conversation"
    await request_close(node, RequestClose(tuple(ids), CloseCode.DRAINING, reason))

"""One small function for each type of frame; `HANDLERS` is the table.

A handler that is done at once is a plain function; `ping`, `typing` and `away` never wait behind
anything. One that has to wait returns its coroutine, which runs in its conversation's lane. Either
raises an `OvaraError`, which becomes the `error` frame, or a `Disconnect`, which ends the
connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from connections import metrics, protocol, selectors
from connections.hub import ConnectionInfo
from connections.joining import (
    JoinAnswer,
    check_counted,
    join_conversation,
    leave_conversation,
)
from connections.local import set_token
from connections.publication import publication
from connections.registry import registry
from connections.registry.gate import Admitted, Identity
from connections.registry.opening import Renew
from connections.registry.presence import SetAway
from ovara.accounts.tokens import VerifiedToken, verify_access_token
from ovara.database import in_thread
from ovara.errors import Forbidden, NotFound, NotJoined, OvaraError
from ovara.times import wire
from sessions_app import journal
from sessions_app.notes import read_position_move, session_state_replace
from sessions_app.records import UserRef
from sessions_app.selectors import history as history_page
from sessions_app.selectors import is_participant
from sessions_app.sessions import OpenedSession

if TYPE_CHECKING:
    from connections.node import Node

Handler = Callable[["Node", ConnectionInfo, Any], Coroutine[Any, Any, None] | None]


def send(connection: ConnectionInfo, frame_type: str, text: str) -> None:
    """Put an answer into a connection's outbox."""
    metrics.FRAMES_SENT.counts[frame_type] += 1
    connection.outbox.put(text)


def ack(connection: ConnectionInfo, request: protocol.Request, **fields: Any) -> None:
    """Answer `request`."""
    send(connection, "ack", protocol.answer("ack", request.id, fields))


def ping(node: Node, connection: ConnectionInfo, frame: protocol.Ping) -> None:
    send(connection, "pong", protocol.pong(frame.id))


async def authenticate(
    node: Node, connection: ConnectionInfo, frame: protocol.Authenticate
) -> None:
    token = verify_access_token(frame.token)
    admitted: Admitted | None = None
    if connection.user is None:
        identity = identity_of(token, connection.wanted_client_id, connection.wanted_session_id)
        admitted = await node.local.authenticate(connection, identity, token)
    session = admitted.session if admitted else await _renew(connection, token)
    ack(
        connection,
        frame,
        user=connection.user,
        token_expires_at=wire(token.expires_at),
        client_id=connection.client_id,
        session=session,
    )
    if admitted:
        count = {"type": "client_connections", "count": admitted.client_connections}
        node.hub.deliver(publication("connection", connection.connection_id, count))


async def _renew(connection: ConnectionInfo, token: VerifiedToken) -> OpenedSession:
    assert connection.user is not None and connection.session_id is not None
    if token.user_id != connection.user.id:
        raise Forbidden("This token is another user's: open a connection of its own for it.")
    identity = identity_of(token, connection.client_id, connection.session_id)
    session: OpenedSession = await registry.commit(
        Renew(connection.connection_id, connection.session_id, identity)
    )
    set_token(connection, token)
    return session


def identity_of(token: VerifiedToken, client_id: str | None, session_id: str | None) -> Identity:
    """What a verified token and the ids from the query say together."""
    return Identity(token.user_id, client_id, session_id, token.keys, token.family)


async def join(node: Node, connection: ConnectionInfo, frame: protocol.Join) -> None:
    def answer(found: JoinAnswer) -> None:
        known = msgspec.structs.asdict(found).items()
        ack(connection, frame, **{name: value for name, value in known if value is not None})

    await join_conversation(
        node,
        connection,
        frame.conversation_id,
        since=frame.since,
        epoch=frame.epoch,
        answer=answer,
    )


async def leave(node: Node, connection: ConnectionInfo, frame: protocol.Leave) -> None:
    await _require_part(connection, frame.conversation_id)
    await leave_conversation(node, connection, frame.conversation_id)
    ack(connection, frame)


def message(
    node: Node, connection: ConnectionInfo, frame: protocol.Message
) -> Coroutine[Any, Any, None]:
    return _message(connection, frame, time.perf_counter())


async def _message(connection: ConnectionInfo, frame: protocol.Message, received_at: float) -> None:
    appended = await journal.post(
        conversation_id=frame.conversation_id,
        content=frame.content,
        sender=connection.user,
        client_message_id=frame.client_message_id,
        metadata=frame.metadata,
        origin=connection.connection_id,
    )
    if appended.duplicate:
        ack(connection, frame, message=appended.message, duplicate=True)
    else:
        ack(connection, frame, message=appended.message)
    metrics.ACK_SECONDS.observe(time.perf_counter() - received_at)


def typing(
    node: Node, connection: ConnectionInfo, frame: protocol.Typing
) -> Coroutine[Any, Any, None] | None:
    if frame.conversation_id not in connection.joined:
        node.typing.put_off(connection, frame.conversation_id, frame)
        return _typing_after_join(node, connection, frame)
    # What waits in its lane is older than this one.
    node.typing.take_put_off(connection, frame.conversation_id)
    node.typing.set(connection, frame.conversation_id, frame.is_typing)
    if frame.id is not None:
        ack(connection, frame)
    return None


async def _typing_after_join(
    node: Node, connection: ConnectionInfo, frame: protocol.Typing
) -> None:
    is_newest = node.typing.newest_put_off(connection, frame.conversation_id) is frame
    try:
        await _require_joined(connection, frame.conversation_id)
    finally:
        if is_newest:
            node.typing.take_put_off(connection, frame.conversation_id)
    if is_newest:
        node.typing.set(connection, frame.conversation_id, frame.is_typing)
    if frame.id is not None:
        ack(connection, frame)


async def read(node: Node, connection: ConnectionInfo, frame: protocol.Read) -> None:
    position = await read_position_move(
        conversation_id=frame.conversation_id,
        user=_user(connection),
        sequence=frame.sequence,
        origin=connection.connection_id,
    )
    ack(connection, frame, sequence=position)


async def history(node: Node, connection: ConnectionInfo, frame: protocol.History) -> None:
    await _require_part(connection, frame.conversation_id)
    page = await in_thread(
        history_page,
        conversation_id=frame.conversation_id,
        after=frame.after,
        before=frame.before,
        limit=50 if frame.limit is None else frame.limit,
    )
    ack(connection, frame, messages=page.messages, has_more=page.has_more)


async def presence(node: Node, connection: ConnectionInfo, frame: protocol.Presence) -> None:
    await _require_joined(connection, frame.conversation_id)
    users = await in_thread(selectors.presence, frame.conversation_id)
    if frame.conversation_id in connection.joined:
        await check_counted(node, connection, users)
    ack(connection, frame, users=users)


def away(
    node: Node, connection: ConnectionInfo, frame: protocol.Away
) -> Coroutine[Any, Any, None] | None:
    if frame.is_away != connection.is_away:
        # At once: a join that comes right behind says it too.
        connection.is_away = frame.is_away
        return _tell_away(node, connection, frame)
    if frame.id is not None:
        ack(connection, frame)
    return None


async def _tell_away(node: Node, connection: ConnectionInfo, frame: protocol.Away) -> None:
    job = SetAway(connection.connection_id, _user(connection), frame.is_away)
    try:
        changes = await registry.commit(job)
    except OvaraError:
        connection.is_away = connection.stored_away
        raise
    connection.stored_away = frame.is_away
    node.announce(changes)
    if frame.id is not None:
        ack(connection, frame)


async def state(node: Node, connection: ConnectionInfo, frame: protocol.State) -> None:
    assert connection.session_id is not None and connection.client_id is not None
    await session_state_replace(
        session_id=connection.session_id,
        client_id=connection.client_id,
        state=frame.state,
        origin=connection.connection_id,
    )
    ack(connection, frame)


async def _require_part(connection: ConnectionInfo, conversation_id: str) -> None:
    if conversation_id in connection.joined:
        return
    user_id = _user(connection).id
    if not await in_thread(is_participant, conversation_id=conversation_id, user_id=user_id):
        raise NotFound


async def _require_joined(connection: ConnectionInfo, conversation_id: str) -> None:
    await _require_part(connection, conversation_id)
    if conversation_id not in connection.joined:
        raise NotJoined


def _user(connection: ConnectionInfo) -> UserRef:
    assert connection.user is not None, "the dispatcher lets only authenticated connections here"
    return connection.user


HANDLERS: dict[type[protocol.Request], Handler] = {
    protocol.Authenticate: authenticate,
    protocol.Ping: ping,
    protocol.Join: join,
    protocol.Leave: leave,
    protocol.Message: message,
    protocol.Typing: typing,
    protocol.Read: read,
    protocol.History: history,
    protocol.Presence: presence,
    protocol.Away: away,
    protocol.State: state,
}


def lane_of(frame: protocol.Request) -> str:
    """Frames of one lane take effect in order: a conversation's, or those of one type."""
    if isinstance(frame, protocol.ConversationRequest):
        return frame.conversation_id
    return protocol.TYPE_NAMES[type(frame)]

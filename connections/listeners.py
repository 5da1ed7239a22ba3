"""What this app does when the others say that something was stored or changed."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from connections import selectors
from connections.bus import is_shared
from connections.close_codes import CloseCode
from connections.close_requests import request_close
from connections.joining import expel
from connections.manager import websocket_manager
from connections.publication import publication
from connections.registry.requests import RequestClose
from connections.resync import tell_doubts
from connections.standing import DEACTIVATED, SIGNED_OUT
from ovara import background
from ovara.accounts.signals import token_revoked, user_deactivated
from ovara.database import in_thread
from sessions_app import signals
from sessions_app.records import MessageRecord, UserRef

node = websocket_manager.node


def connect() -> None:
    """Begin to listen; called once, when the apps are ready."""
    signals.message_committed.connect(_message_committed)
    signals.conversation_in_doubt.connect(_conversation_in_doubt)
    signals.conversation_changed.connect(_conversation_changed)
    signals.participant_added.connect(_participant_added)
    signals.participant_removed.connect(_participant_removed)
    signals.read_moved.connect(_read_moved)
    signals.session_state_changed.connect(_session_state_changed)
    token_revoked.connect(_token_revoked)
    user_deactivated.connect(_user_deactivated)


def _message_committed(message: MessageRecord, origin: str | None, **_: Any) -> None:
    """In the main loop, in the order of sequences."""
    conversation_id = message.conversation_id
    frame = {"type": "message", "conversation_id": conversation_id, "message": message}
    node.publish(
        publication(
            "conversation", conversation_id, frame, exclude=origin, sequence=message.sequence
        )
    )
    if _can_deliver():
        node.conversation_feed.changed(conversation_id)


def _conversation_in_doubt(conversation_id: str, **_: Any) -> None:
    if _can_deliver():
        background.tell(tell_doubts, node, {conversation_id})
        background.tell(node.conversation_feed.changed, conversation_id)


def _conversation_changed(conversation_id: str, **_: Any) -> None:
    if _can_deliver():
        background.tell(node.conversation_feed.changed, conversation_id)


def _participant_added(conversation_id: str, user_id: str, **_: Any) -> None:
    if _can_deliver():
        _start(node.conversation_feed.added(conversation_id, user_id), "participant added")


def _participant_removed(conversation_id: str, user_id: str, **_: Any) -> None:
    _start(expel(node, conversation_id, user_id), "participant removed")
    if _can_deliver():
        _start(node.conversation_feed.removed(conversation_id, user_id), "participant removed")


def _read_moved(
    conversation_id: str, user: UserRef, sequence: int, origin: str | None, **_: Any
) -> None:
    frame = {
        "type": "read",
        "conversation_id": conversation_id,
        "user": user,
        "sequence": sequence,
    }
    item = publication("conversation", conversation_id, frame, exclude=origin)
    if _can_deliver():
        background.tell(node.publish, item)
        background.tell(node.conversation_feed.changed, conversation_id)


def _session_state_changed(
    client_id: str, state: dict[str, Any], origin: str | None, **_: Any
) -> None:
    frame = {"type": "state", "state": state}
    if _can_deliver():
        background.tell(node.publish, publication("client", client_id, frame, exclude=origin))


def _token_revoked(key: str, **_: Any) -> None:
    _start(_close_of_token(key), "token revoked")


def _user_deactivated(user_id: str, **_: Any) -> None:
    _start(_close_of_user(user_id), "user deactivated")


async def _close_of_token(key: str) -> None:
    ids = await in_thread(selectors.connections_of_token, key)
    await request_close(node, RequestClose(tuple(ids), CloseCode.UNAUTHENTICATED, SIGNED_OUT))


async def _close_of_user(user_id: str) -> None:
    ids = await in_thread(selectors.connections_of_user, user_id)
    await request_close(node, RequestClose(tuple(ids), CloseCode.UNAUTHENTICATED, DEACTIVATED))


def _can_deliver() -> bool:
    """Whether this process reaches connections: a node, or one that shares a layer with nodes."""
    return node.running or is_shared()


def _start(coroutine: Coroutine[Any, Any, Any], name: str) -> None:
    """Start a task of the process's loop. A process that is no node may end soon: it waits."""
    if node.running or background.in_main_loop():
        background.call(lambda: background.start(coroutine, name=name))
    else:
        background.run(coroutine)

"""The journal: the durable, ordered append of messages. How a batch is written: batches.py."""

from __future__ import annotations

from typing import Any

from ovara import background
from ovara.group_commit import DatabaseAway, GroupCommit
from ovara.ids import new_text_id
from ovara.turns import in_turn
from ovara.write_health import write_health
from sessions_app import signals
from sessions_app.batches import Appended, Draft, write_batch
from sessions_app.models import Message
from sessions_app.records import MessageRecord, UserRef
from sessions_app.validation import check_client_message_id, check_content, check_json_object

# Conversations in doubt that are remembered; the oldest are forgotten first.
MAX_DOUBTS = 10_000

journal: GroupCommit[Draft, Appended] = GroupCommit(
    "journal", in_turn(write_batch), health=write_health
)
# Conversations in which something may have been stored unheard: the database was lost before it
# answered. Then nobody has heard of the message, and its repeat is no news.
_in_doubt: dict[str, None] = {}


async def post(
    *,
    conversation_id: str,
    content: str,
    role: str = "user",
    sender: UserRef | None = None,
    client_message_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    require_participant: bool = True,
    origin: str | None = None,
) -> Appended:
    """Store a message, then tell whoever delivers it. Returns when it is committed.

    Args:
        client_message_id: makes a repeat harmless; None gives the message one of its own.
        require_participant: whether `sender` needs a part in the conversation.
        origin: the connection that sent it, which hears of it by its acknowledgement.

    Raises:
        Invalid, TooLarge: the message is not acceptable.
        NotFound: there is no such conversation, or the sender has no part in it.
        Overloaded: nothing was stored; try again. Where the database was lost on the way it may be
            stored all the same: then a repeat with the same `client_message_id` finds it.
    """
    if client_message_id is None:
        client_message_id = new_text_id()
    check_content(content)
    check_client_message_id(client_message_id)
    check_json_object(metadata or {}, "metadata")
    draft = Draft(
        conversation_id,
        content,
        role,
        sender,
        client_message_id,
        metadata or {},
        require_participant,
    )
    return await background.on_main_loop(_append_and_tell(draft, origin))


async def _append_and_tell(draft: Draft, origin: str | None) -> Appended:
    try:
        appended = await journal.commit(draft)
    except DatabaseAway as away:
        if not away.is_certain:
            _doubt(draft.conversation_id)
        raise
    # No await from here to the return: callers are woken in the order of sequences, so whatever
    # they enqueue now keeps that order.
    was_in_doubt = draft.conversation_id in _in_doubt
    _in_doubt.pop(draft.conversation_id, None)
    if not appended.duplicate:
        signals.message_committed.send(Message, message=appended.message, origin=origin)
        if signals.message_appended.receivers:
            background.start(_tell_application(appended.message), name="message_appended")
    elif was_in_doubt:
        signals.conversation_in_doubt.send(Message, conversation_id=draft.conversation_id)
    return appended


def _doubt(conversation_id: str) -> None:
    _in_doubt.pop(conversation_id, None)
    _in_doubt[conversation_id] = None
    if len(_in_doubt) > MAX_DOUBTS:
        del _in_doubt[next(iter(_in_doubt))]


async def _tell_application(message: MessageRecord) -> None:
    """Django logs the errors of receivers, and goes on with the others."""
    await signals.message_appended.asend_robust(Message, message=message)

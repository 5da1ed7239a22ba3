"""Messages of server code: an agent's answers, a notice of the system."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from ovara.accounts.models import User
from ovara.database import in_thread
from ovara.errors import Invalid, NotFound
from ovara.ids import is_id
from sessions_app import journal
from sessions_app.models import MessageRole
from sessions_app.records import MessageRecord, UserRef
from sessions_app.selectors import user_refs

Sender = UserRef | User | UUID | str | None


async def post_message(
    *,
    conversation_id: str,
    content: str,
    role: str,
    sender: Sender = None,
    client_message_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> MessageRecord:
    """Store a message whose sender needs no part in the conversation, and tell who delivers it.

    Raises:
        Invalid, TooLarge: the content, the role or the sender is not acceptable.
        NotFound: there is no such conversation.
        Overloaded: nothing was stored; try again.
    """
    if not is_id(conversation_id):
        raise NotFound
    if role not in MessageRole.values:
        raise Invalid(f"role: use one of {', '.join(MessageRole.values)}.")
    posted = journal.post(
        conversation_id=conversation_id,
        content=content,
        role=role,
        sender=await _user_ref(sender),
        client_message_id=client_message_id,
        metadata=metadata,
        require_participant=False,
    )
    # Shielded: a caller that loses patience must not keep a stored message from being delivered.
    appended = await asyncio.shield(posted)
    return appended.message


async def _user_ref(sender: Sender) -> UserRef | None:
    if sender is None:
        return None
    if isinstance(sender, User):
        sender = sender.pk
    user_id = sender.id if isinstance(sender, UserRef) else str(sender)
    found = await in_thread(user_refs, [UUID(user_id)]) if is_id(user_id) else {}
    for user in found.values():
        return user
    raise Invalid("sender: there is no such user.")

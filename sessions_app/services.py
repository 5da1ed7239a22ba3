"""Writes of conversations and participants.

Who may do what is decided here, once for every door. `actor` is the user who asks; None is server
code, which may do anything. What changed is said by a signal, after it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.dispatch import Signal

from ovara.accounts.models import User
from ovara.errors import Forbidden, Invalid, NotFound
from ovara.transactions import atomically
from sessions_app.models import TITLE_MAX_LENGTH, Conversation, Participant, Role
from sessions_app.signals import (
    conversation_changed,
    participant_added,
    participant_removed,
)
from sessions_app.validation import check_text

# A page of conversations brings their participants along.
MAX_PARTICIPANTS = 1_000


def conversation_create(
    *, owner: User, title: str = "", usernames: Sequence[str] = ()
) -> Conversation:
    """Start a conversation of `owner` and the named members.

    Raises:
        Invalid: an unknown name, too many of them, or a bad title.
    """
    _check_title(title, "title", shortest=0)
    names = {name for name in usernames if name != owner.username}
    if len(names) >= MAX_PARTICIPANTS:
        raise _invalid("participants", f"At most {MAX_PARTICIPANTS} can take part.")
    members = list(_active_users().filter(username__in=names).order_by("username"))
    if unknown := sorted(names - {user.username for user in members}):
        raise Invalid(
            "participants: some of these users do not exist.",
            fields={"participants": [f"There is no user {name!r}." for name in unknown]},
        )
    conversation = Conversation(title=title, created_by=owner)

    def write() -> None:
        # Without its owner, who is first, the conversation is nobody's: where there are no
        # transactions, a write that is cut off shows nothing, or lacks some of the members.
        conversation.save(force_insert=True)
        Participant.objects.bulk_create(
            Participant(conversation=conversation, user=user, role=role)
            for user, role in [(owner, Role.OWNER), *((user, Role.MEMBER) for user in members)]
        )

    atomically(write)
    for user in (owner, *members):
        _tell(participant_added, conversation_id=str(conversation.pk), user_id=str(user.pk))
    return conversation


def conversation_rename(*, conversation: Conversation, title: str, actor: User | None) -> None:
    """Give the conversation another title.

    Raises:
        Invalid: not 1 to 200 characters.
        NotFound, Forbidden: `actor` has no part in it, or is not its owner.
    """
    _check_title(title, "title", shortest=1)
    _check_owner(conversation, actor)
    Conversation.objects.filter(pk=conversation.pk).update(title=title)
    conversation.title = title
    _tell(conversation_changed, conversation_id=str(conversation.pk))


def participant_add(
    *, conversation: Conversation, username: str, actor: User | None = None
) -> tuple[Participant, bool]:
    """Give a user a part in the conversation; False where they had one.

    Raises:
        Invalid: no such user, or the conversation is full.
        NotFound, Forbidden: `actor` has no part in it, or is not its owner.
    """
    _check_owner(conversation, actor)
    user = _active_users().filter(username=username).first()
    if user is None:
        raise _invalid("username", "There is no such user.")
    known = Participant.objects.filter(conversation=conversation, user=user).first()
    if known is not None:
        return known, False
    if Participant.objects.filter(conversation=conversation).count() >= MAX_PARTICIPANTS:
        raise _invalid("username", f"At most {MAX_PARTICIPANTS} can take part.")
    participant, is_new = Participant.objects.get_or_create(conversation=conversation, user=user)
    if is_new:
        _tell(participant_added, conversation_id=str(conversation.pk), user_id=str(user.pk))
    return participant, is_new


def participant_remove(
    *, conversation: Conversation, username: str, actor: User | None = None
) -> None:
    """Take a user's part in the conversation away; members may leave by it.

    Raises:
        NotFound: `actor` or the named user has no part in it.
        Forbidden: a member would remove somebody else, or anybody the owner.
    """
    if actor is None or actor.username != username:
        _check_owner(conversation, actor)
    parts = Participant.objects.filter(
        conversation=conversation, user__in=list(User.objects.filter(username=username))
    )
    part = parts.first()
    if part is None:
        raise NotFound("There is no such participant.")
    if part.role == Role.OWNER:
        raise Forbidden("The owner can't be removed.")
    deleted, _ = Participant.objects.filter(pk=part.pk).delete()
    if deleted:
        _tell(participant_removed, conversation_id=str(conversation.pk), user_id=str(part.user_id))


def _active_users() -> QuerySet[User]:
    return User.objects.filter(is_active=True)


def _check_owner(conversation: Conversation, actor: User | None) -> None:
    if actor is None:
        return
    part = Participant.objects.filter(conversation=conversation, user=actor).first()
    if part is None:
        raise NotFound
    if part.role != Role.OWNER:
        raise Forbidden("Only the conversation's owner may do this.")


def _check_title(title: str, field: str, *, shortest: int) -> None:
    if not shortest <= len(title) <= TITLE_MAX_LENGTH:
        raise _invalid(field, f"title must have {shortest} to {TITLE_MAX_LENGTH} characters.")
    check_text(title, field)


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: [message]})


def _tell(signal: Signal, **values: Any) -> None:
    """Send `signal` when the change is committed: at once, unless the caller has a transaction."""
    transaction.on_commit(lambda: signal.send(None, **values))

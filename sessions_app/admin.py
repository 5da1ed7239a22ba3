"""What outlives a connection, in the admin: sessions, conversations, messages.

The server writes all of it, and open connections hold parts of it in memory, so all of it is read
only. A session can be deleted: its client loses what it was doing, and gets a new one when it next
connects. Conversations and messages can't: their sequences have no gaps, and nobody who is
connected would hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString

from ovara.admin.cells import (
    as_json,
    in_words,
    link,
    link_column,
    list_link,
    short_id,
    short_text,
    table,
    time_column,
)
from ovara.admin.filters import UserFilter
from ovara.admin.lists import REACH, ReadOnlyAdmin
from ovara.times import now
from sessions_app.models import Conversation, Message, Participant, Session

PARTICIPANTS_SHOWN = 100
MESSAGES_SHOWN = 50


class ExpiredFilter(admin.SimpleListFilter):
    """Whether a client may still resume the session."""

    title = "expired"
    parameter_name = "expired"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return (("no", "No"), ("yes", "Yes"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        if self.value() == "yes":
            return queryset.filter(expires_at__lte=now())
        return queryset.filter(expires_at__gt=now()) if self.value() == "no" else queryset


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin[Session]):
    """What each client was doing."""

    list_display = (
        "session",
        link_column("user"),
        "client_link",
        "valid",
        time_column("last_active_at", "last active"),
        time_column("expires_at", "expires"),
    )
    list_select_related = ("user",)
    list_filter = (ExpiredFilter, UserFilter)
    search_user_field = "user_id"
    search_id_fields = ("id", "client_id", "user_id")
    search_help_text = "A session, client or user id, or a part of the user name."
    fields = (
        "id",
        "user",
        "client",
        "valid",
        "pretty_state",
        "created_at",
        "last_active_at",
        "expires_at",
    )

    @admin.display
    def session(self, session: Session) -> SafeString:
        return short_id(session.pk)

    @admin.display
    def client(self, session: Session) -> str:
        return link("connections.Client", session.client_id, session.client_id)

    @admin.display(description="client")
    def client_link(self, session: Session) -> str:
        return link("connections.Client", session.client_id, short_id(session.client_id))

    @admin.display(boolean=True)
    def valid(self, session: Session) -> bool:
        return session.expires_at > now()

    @admin.display(description="state")
    def pretty_state(self, session: Session) -> SafeString:
        return as_json(session.state)

    def has_delete_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return request.user.has_perm("sessions_app.delete_session")


class ParticipantFilter(UserFilter):
    """Conversations in which this user has a part."""

    title = "participant"
    parameter_name = "participant"
    lookup = "participants__user_id"


def _participant_count() -> Coalesce:
    counted = (
        Participant.objects.filter(conversation=OuterRef("pk"))
        .order_by()
        .values("conversation")
        .annotate(count=Count("pk"))
        .values("count")
    )
    return Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin[Conversation]):
    """Conversations, the most recent first, each with its participants and newest messages."""

    list_display = (
        "__str__",
        link_column("created_by"),
        "participant_count",
        "messages_link",
        time_column("updated_at", "updated"),
        time_column("created_at", "created"),
    )
    list_select_related = ("created_by",)
    list_filter = (ParticipantFilter,)
    search_fields = ("title__icontains",)
    search_user_field = "created_by_id"
    search_id_fields = ("id", "created_by_id")
    search_help_text = "A conversation id, or a part of the title or of its maker's name."
    fields = (
        "id",
        "title",
        "created_by",
        "epoch",
        "created_at",
        "updated_at",
        "participant_count",
        "participants",
        "messages_link",
        "newest_messages",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).annotate(participant_count=_participant_count())

    @admin.display(description="participants")
    def participant_count(self, conversation: Conversation) -> int:
        return getattr(conversation, "participant_count", 0)

    @admin.display(description="messages")
    def messages_link(self, conversation: Conversation) -> SafeString:
        return list_link(
            "sessions_app.Message", conversation.last_sequence, conversation=conversation.pk
        )

    @admin.display(description=f"first {PARTICIPANTS_SHOWN} participants")
    def participants(self, conversation: Conversation) -> str:
        rows = Participant.objects.filter(conversation=conversation).select_related("user")
        return table(
            ("user", "role", "has read up to", "joined"),
            (
                (
                    link("accounts.User", row.user_id, row.user),
                    row.role,
                    row.last_read_sequence,
                    in_words(row.joined_at),
                )
                for row in rows[:PARTICIPANTS_SHOWN]
            ),
        )

    @admin.display(description=f"newest {MESSAGES_SHOWN} messages")
    def newest_messages(self, conversation: Conversation) -> str:
        rows = Message.objects.filter(conversation=conversation).select_related("sender")
        return table(
            ("sequence", "from", "content", "when"),
            (
                (
                    link("sessions_app.Message", row.pk, row.sequence),
                    row.sender or row.role,
                    short_text(row.content),
                    in_words(row.created_at),
                )
                for row in rows.order_by("-sequence")[:MESSAGES_SHOWN]
            ),
        )


class SenderFilter(UserFilter):
    """Messages of the user with exactly this name."""

    title = "sender"
    parameter_name = "sender"
    lookup = "sender_id"


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin[Message]):
    """Messages, the newest first. What is older than the newest ones is found by its conversation:
    no index knows the sender or the words of a message."""

    list_display = (
        "sequence",
        link_column("conversation"),
        link_column("sender"),
        "role",
        "short_content",
        "status",
        time_column("created_at", "created"),
    )
    list_display_links = ("sequence", "short_content")
    list_select_related = ("conversation", "sender")
    list_filter = ("role", "status", SenderFilter)
    sortable_by = ()
    search_fields = ("content__icontains",)
    search_id_fields = ("id", "conversation_id", "sender_id")
    id_ordering = {"conversation_id": "-sequence"}
    narrowing = ("conversation",)
    unindexed = ("role", "status", "sender", "sender_id")
    search_help_text = (
        "A message or conversation id; or, of a conversation that the list is narrowed to, or else "
        f"of the newest {REACH:,} messages: a sender id or a part of the content."
    )
    fields = (
        "id",
        "conversation",
        "sequence",
        "role",
        "sender",
        "status",
        "content",
        "pretty_metadata",
        "client_message_id",
        "created_at",
    )

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # The same order, by the index that a conversation's messages have.
        return ("-sequence",) if "conversation" in request.GET else ("-pk",)

    @admin.display(description="content")
    def short_content(self, message: Message) -> str:
        return short_text(message.content)

    @admin.display(description="metadata")
    def pretty_metadata(self, message: Message) -> SafeString:
        return as_json(message.metadata)

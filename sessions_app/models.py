"""What outlives a connection: sessions, conversations, participants, messages."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from ovara.ids import new_id
from ovara.json import Decoder
from ovara.times import now

TITLE_MAX_LENGTH = 200
CLIENT_MESSAGE_ID_MAX_LENGTH = 64


def new_epoch() -> str:
    """An opaque name for a conversation's life, in which its sequences are comparable."""
    return new_id().hex[-16:]


class Session(models.Model):
    """What a client was doing; one a client, resumed when it comes back."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    client_id = models.UUIDField(unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="client_sessions"
    )
    state = models.JSONField(default=dict, blank=True, decoder=Decoder)
    created_at = models.DateTimeField(default=now)
    last_active_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        # The one used last comes first: its end moves with its use.
        ordering = ["-expires_at", "id"]

    def __str__(self) -> str:
        return f"session {self.id}"


class Conversation(models.Model):
    """A durable place to talk: participants, and messages in one total order."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    epoch = models.CharField(max_length=64, default=new_epoch, editable=False)
    title = models.CharField(max_length=TITLE_MAX_LENGTH, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="created_conversations",
    )
    last_sequence = models.BigIntegerField(
        default=0, editable=False, help_text="A cache of the greatest sequence stored."
    )
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now, help_text="The newest message, or the start.")

    class Meta:
        ordering = ["-updated_at", "-id"]
        indexes = [models.Index(fields=["-updated_at", "-id"], name="conversation_recent")]

    def __str__(self) -> str:
        return self.title or f"conversation {self.id}"


class Role(models.TextChoices):
    """What a participant may do: an owner also manages title and participants."""

    OWNER = "owner"
    MEMBER = "member"


class Participant(models.Model):
    """A user's stored right to a conversation, and how far they have read it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="participants", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="participations"
    )
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    last_read_sequence = models.BigIntegerField(default=0)
    joined_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["joined_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["conversation", "user"], name="participant_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.conversation_id}"


class MessageRole(models.TextChoices):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class MessageStatus(models.TextChoices):
    """How far a message is; all but `complete` are for answers that stream."""

    COMPLETE = "complete"
    STREAMING = "streaming"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Message(models.Model):
    """What a person (or an agent) wrote, at its place in the conversation."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages", db_index=False
    )
    sequence = models.BigIntegerField()
    role = models.CharField(max_length=10, choices=MessageRole.choices, default=MessageRole.USER)
    # Kept when the account goes: without it two people's equal `client_message_id`s would collide,
    # and neither account could be deleted. Others then see no sender. Without an index: every
    # message would pay for what only the admin asks (docs/adr/0050-indexes.md).
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="sent_messages",
    )
    content = models.TextField()
    metadata = models.JSONField(default=dict, blank=True, decoder=Decoder)
    client_message_id = models.CharField(max_length=CLIENT_MESSAGE_ID_MAX_LENGTH)
    status = models.CharField(
        max_length=10, choices=MessageStatus.choices, default=MessageStatus.COMPLETE
    )
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["conversation", "sequence"]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "sequence"], name="message_sequence_once"
            ),
            models.UniqueConstraint(
                fields=["conversation", "client_message_id", "sender"], name="message_sent_once"
            ),
            # NULLs are distinct to the constraint above: server code's own posts need theirs.
            models.UniqueConstraint(
                fields=["conversation", "client_message_id"],
                condition=Q(sender__isnull=True),
                name="message_posted_once",
            ),
        ]
        indexes = [
            # Unread counts: how many of the messages above a read position are one's own.
            models.Index(fields=["conversation", "sender", "sequence"], name="message_own"),
        ]

    def __str__(self) -> str:
        return f"{self.conversation_id} #{self.sequence}"

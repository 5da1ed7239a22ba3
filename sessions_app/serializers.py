"""Bodies of the calls for conversations, messages and sessions."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ovara.accounts.serializers import UserRefSerializer
from ovara.fields import ObjectField, SequenceField, TextField, TimeField
from sessions_app.models import (
    CLIENT_MESSAGE_ID_MAX_LENGTH,
    TITLE_MAX_LENGTH,
    MessageRole,
    MessageStatus,
    Role,
)
from sessions_app.selectors import HISTORY_DEFAULT_LIMIT, HISTORY_MAX_LIMIT
from sessions_app.services import MAX_PARTICIPANTS
from sessions_app.validation import CONTENT_MAX_LENGTH

USERNAME_MAX_LENGTH = 150


class ParticipantSerializer(serializers.Serializer[Any]):
    """Who has a part in a conversation, and how far they have read."""

    user = UserRefSerializer()
    role = serializers.ChoiceField(Role.choices)
    last_read_sequence = SequenceField()
    joined_at = TimeField()


class ConversationSerializer(serializers.Serializer[Any]):
    """A conversation as the caller sees it."""

    id = serializers.UUIDField()
    epoch = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    created_by = UserRefSerializer(allow_null=True)
    last_sequence = SequenceField()
    unread = SequenceField()
    participants = ParticipantSerializer(many=True)
    created_at = TimeField()


class ConversationCreateSerializer(serializers.Serializer[Any]):
    """A new conversation; the caller owns it."""

    title = TextField(
        max_length=TITLE_MAX_LENGTH, required=False, allow_blank=True, allow_null=True
    )
    participants = serializers.ListField(
        child=TextField(min_length=1, max_length=USERNAME_MAX_LENGTH),
        max_length=MAX_PARTICIPANTS,
        required=False,
        allow_null=True,
        help_text="Usernames.",
    )


class ConversationRenameSerializer(serializers.Serializer[Any]):
    """Another title."""

    title = TextField(min_length=1, max_length=TITLE_MAX_LENGTH)


class ParticipantAddSerializer(serializers.Serializer[Any]):
    """Whom to bring in."""

    username = TextField(min_length=1, max_length=USERNAME_MAX_LENGTH)


class MessageSerializer(serializers.Serializer[Any]):
    """A stored message."""

    id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    sequence = SequenceField(min_value=1)
    role = serializers.ChoiceField(MessageRole.choices)
    sender = UserRefSerializer(allow_null=True)
    content = serializers.CharField()
    metadata = ObjectField()
    client_message_id = serializers.CharField()
    status = serializers.ChoiceField(MessageStatus.choices)
    created_at = TimeField()


class MessagePageSerializer(serializers.Serializer[Any]):
    """Messages in rising sequence; `has_more` in the direction asked for."""

    messages = MessageSerializer(many=True)
    has_more = serializers.BooleanField()


@extend_schema_field({"type": "string", "minLength": 1, "maxLength": CONTENT_MAX_LENGTH})
class ContentField(TextField):
    """What somebody says. Too much of it is `too_large`, which a serializer can't say."""


class MessagePostSerializer(serializers.Serializer[Any]):
    """A message to send. Sizes and characters are checked where frames are checked too."""

    content = ContentField()
    client_message_id = TextField(
        min_length=1,
        max_length=CLIENT_MESSAGE_ID_MAX_LENGTH,
        required=False,
        allow_null=True,
        help_text="The same one again gets the first message, and nothing is sent twice.",
    )
    metadata = ObjectField(
        required=False, allow_null=True, help_text="Up to 16 KiB of JSON, else `too_large`."
    )


class HistorySerializer(serializers.Serializer[Any]):
    """Which messages: after or before a sequence, or with neither the newest."""

    after = SequenceField(required=False)
    before = SequenceField(required=False)
    limit = serializers.IntegerField(
        min_value=1, max_value=HISTORY_MAX_LIMIT, default=HISTORY_DEFAULT_LIMIT
    )


class SessionSerializer(serializers.Serializer[Any]):
    """What outlives a client's connections."""

    id = serializers.UUIDField()
    client_id = serializers.UUIDField()
    user = UserRefSerializer()
    state = ObjectField()
    created_at = TimeField()
    last_active_at = TimeField()
    expires_at = TimeField()

"""Bodies of the calls about connections."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ovara.accounts.serializers import UserRefSerializer
from ovara.fields import TimeField

# A year: beyond it, nobody means what they write.
MAX_INACTIVE_MINUTES = 525_600
DEFAULT_INACTIVE_MINUTES = 30.0


class NodeSerializer(serializers.Serializer[Any]):
    """One server process."""

    id = serializers.UUIDField()
    hostname = serializers.CharField()
    pid = serializers.IntegerField()
    started_at = TimeField()
    last_heartbeat = TimeField()
    alive = serializers.BooleanField()
    connections = serializers.IntegerField()


class StatsSerializer(serializers.Serializer[Any]):
    """The live nodes of the whole cluster, and what they hold."""

    total_connections = serializers.IntegerField()
    authenticated_connections = serializers.IntegerField()
    unique_clients = serializers.IntegerField()
    unique_users = serializers.IntegerField()
    active_conversations = serializers.IntegerField()
    nodes = NodeSerializer(many=True)


@extend_schema_field(
    {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": MAX_INACTIVE_MINUTES,
        "default": DEFAULT_INACTIVE_MINUTES,
    }
)
class MinutesField(serializers.FloatField):
    """Minutes above 0: at 0 everybody would be inactive."""

    def to_internal_value(self, data: Any) -> float:
        """`data` as minutes."""
        minutes = super().to_internal_value(data)
        if minutes <= 0:
            raise serializers.ValidationError("Ensure this value is greater than 0.")
        return minutes


class CleanupQuerySerializer(serializers.Serializer[Any]):
    """What counts as inactive, and whether to close it."""

    max_inactive_minutes = MinutesField(
        default=DEFAULT_INACTIVE_MINUTES,
        max_value=MAX_INACTIVE_MINUTES,
        help_text="Inactive: no frame but `ping` for so long.",
    )
    dry_run = serializers.BooleanField(
        default=False, help_text="Close nothing; say what would be closed."
    )


class CleanupSerializer(serializers.Serializer[Any]):
    """What was closed."""

    closed = serializers.IntegerField()
    max_inactive_minutes = serializers.FloatField()


class ClientConnectionSerializer(serializers.Serializer[Any]):
    """One live connection of a client."""

    connection_id = serializers.UUIDField()
    node = serializers.UUIDField()
    authenticated = serializers.BooleanField()
    connected_at = TimeField()
    last_seen = TimeField()
    ip_address = serializers.CharField(allow_null=True)
    user_agent = serializers.CharField(allow_blank=True)
    conversations = serializers.ListField(child=serializers.UUIDField())


class ClientConnectionsSerializer(serializers.Serializer[Any]):
    """A client, whose it is, and its live connections."""

    client_id = serializers.UUIDField()
    user = UserRefSerializer()
    connections = ClientConnectionSerializer(many=True)

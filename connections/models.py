"""Who is connected, as every node and the admin can see it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from ovara.ids import new_id
from ovara.times import now
from sessions_app.models import Conversation, Session

CLOSE_REASON_MAX_LENGTH = 200
USER_AGENT_MAX_LENGTH = 300


class Client(models.Model):
    """One browser profile or device install; belongs to the first user who brought it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="clients"
    )
    label = models.CharField(max_length=100, blank=True, help_text="A name for people.")
    first_seen = models.DateTimeField(default=now)
    last_seen = models.DateTimeField(default=now, db_index=True)

    class Meta:
        ordering = ["-last_seen", "id"]

    def __str__(self) -> str:
        return self.label or f"client {self.id}"


class Node(models.Model):
    """One server process; alive while its heartbeat is younger than the lapse."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    hostname = models.CharField(max_length=255)
    pid = models.BigIntegerField()
    started_at = models.DateTimeField(default=now)
    last_heartbeat = models.DateTimeField(default=now, db_index=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at", "id"]

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"


class Connection(models.Model):
    """One WebSocket. The row outlives it by the retention, for inspection."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(
        Node, on_delete=models.CASCADE, related_name="connections", db_index=False
    )
    client = models.ForeignKey(
        Client, null=True, on_delete=models.CASCADE, related_name="connections", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.CASCADE,
        related_name="connections",
        db_index=False,
    )
    session = models.ForeignKey(
        Session, null=True, on_delete=models.SET_NULL, related_name="connections", db_index=False
    )
    authenticated = models.BooleanField(default=False)
    token_family = models.CharField(
        max_length=64, blank=True, help_text="The sign-in its token comes from."
    )
    connected_at = models.DateTimeField(default=now)
    last_seen = models.DateTimeField(default=now, help_text="The newest frame of any type.")
    last_active = models.DateTimeField(default=now, help_text="The newest frame but `ping`.")
    disconnected_at = models.DateTimeField(null=True, blank=True)
    close_code = models.IntegerField(null=True, blank=True)
    close_reason = models.CharField(max_length=CLOSE_REASON_MAX_LENGTH, blank=True)
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=USER_AGENT_MAX_LENGTH, blank=True)
    # A request to close, for the connection's own node to find: set by whatever process wants it.
    requested_close_code = models.IntegerField(null=True, blank=True)
    requested_close_reason = models.CharField(max_length=CLOSE_REASON_MAX_LENGTH, blank=True)
    requested_inactive_before = models.DateTimeField(
        null=True, blank=True, help_text="Close only if nothing was heard since."
    )

    class Meta:
        ordering = ["-connected_at", "id"]
        indexes = [
            models.Index(fields=["disconnected_at", "connected_at"], name="connection_recent"),
            # Also a node's open connections that somebody asked to close, every second.
            models.Index(
                fields=["node", "disconnected_at", "requested_close_code"],
                name="connection_of_node",
            ),
            models.Index(fields=["client", "disconnected_at"], name="connection_of_client"),
            models.Index(fields=["user", "disconnected_at"], name="connection_of_user"),
            models.Index(fields=["ip_address", "disconnected_at"], name="connection_of_address"),
            models.Index(fields=["session"], name="connection_of_session"),
            # Not `db_index`: PostgreSQL would get a second one, for LIKE.
            models.Index(fields=["token_family", "disconnected_at"], name="connection_of_token"),
        ]

    def __str__(self) -> str:
        return f"connection {self.id}"

    @staticmethod
    def open_filter() -> Q:
        """Rows whose connection was not closed yet; its node may be dead all the same."""
        return Q(disconnected_at__isnull=True)


class Subscription(models.Model):
    """A connection that has joined a conversation, now or until the presence grace is over."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    connection = models.ForeignKey(
        Connection, on_delete=models.CASCADE, related_name="subscriptions", db_index=False
    )
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="subscriptions", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="subscriptions",
    )
    client_id = models.UUIDField()
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="subscriptions")
    is_away = models.BooleanField(default=False)
    joined_at = models.DateTimeField(default=now)
    left_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["joined_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "conversation"], name="subscription_once"
            ),
        ]
        indexes = [
            models.Index(fields=["conversation", "user"], name="subscription_of_user"),
            # Those that ended: a database must not look for a connection's or a conversation's open
            # ones among all that are open.
            models.Index(
                fields=["left_at"], name="subscription_left", condition=Q(left_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.connection_id} in {self.conversation_id}"

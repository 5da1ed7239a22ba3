"""Connections in the admin: who is connected now, and who was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from connections.admin.actions import disconnect, send_notice
from connections.admin.states import (
    CLOSED,
    LIVE,
    LOST,
    connection_state,
    live_first,
    node_is_alive,
    state_filter,
)
from connections.models import Connection, Node, Subscription
from ovara.admin.cells import (
    NOTHING,
    as_id,
    in_words,
    link,
    link_column,
    short_id,
    table,
    time_column,
)
from ovara.admin.filters import UserFilter
from ovara.admin.lists import ReadOnlyAdmin

# The newest nodes that the filter offers; an older one is reached from its own page.
NODES_OFFERED = 20
CONVERSATIONS_SHOWN = 50


class StateFilter(admin.SimpleListFilter):
    """Live, lost (its node is dead) or closed."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return ((LIVE, "live"), (LOST, "lost: its node is dead"), (CLOSED, "closed"))

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Connection]
    ) -> QuerySet[Connection]:
        state = self.value()
        return queryset.filter(state_filter(state)) if state in (LIVE, LOST, CLOSED) else queryset


class NodeFilter(admin.SimpleListFilter):
    """One node, of the newest ones."""

    title = "node"
    parameter_name = "node"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        for node in Node.objects.all()[:NODES_OFFERED]:
            yield str(node.pk), str(node) if node_is_alive(node) else f"{node} (dead)"

    def has_output(self) -> bool:
        return True

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Connection]
    ) -> QuerySet[Connection]:
        value = self.value()
        if not value:
            return queryset
        node_id = as_id(value)
        if node_id is None:
            raise IncorrectLookupParameters
        return queryset.filter(node=node_id)


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin[Connection]):
    """Live ones first. Read only but for the actions; closed rows can be deleted."""

    actions = (disconnect, send_notice)
    list_display = (
        "connection",
        "state",
        link_column("user"),
        time_column("last_seen"),
        "ip_address",
        link_column("client"),
        "session_link",
        link_column("node"),
        time_column("connected_at", "connected"),
    )
    list_select_related = ("user", "client", "node")
    list_filter = (StateFilter, UserFilter, NodeFilter)
    search_fields = ("ip_address__startswith",)
    search_user_field = "user_id"
    search_id_fields = ("id", "client_id", "user_id", "session_id")
    search_help_text = (
        "A whole id (connection, client, session, user), a part of the user name, "
        "or the beginning of the address."
    )
    sortable_by = ("last_seen", "connected_at")
    fields = (
        "id",
        "state",
        "user",
        "client",
        "session",
        "node",
        "authenticated",
        "seen",
        "conversations",
        "ip_address",
        "user_agent",
        "connected_at",
        "last_seen",
        "last_active",
        "disconnected_at",
        "close_code",
        "close_reason",
        "requested_close_code",
        "requested_close_reason",
        "requested_inactive_before",
    )

    def get_ordering(self, request: HttpRequest) -> Any:
        is_one_state = request.GET.get(StateFilter.parameter_name) in (LIVE, LOST)
        return (*([] if is_one_state else live_first()), "-connected_at", "-pk")

    @admin.display
    def connection(self, connection: Connection) -> SafeString:
        return short_id(connection.pk)

    @admin.display
    def state(self, connection: Connection) -> SafeString:
        """The state in words, and what a closed connection was closed with."""
        state = connection_state(connection)
        if state == CLOSED:
            return format_html(
                '<span title="{}">closed {}</span>',
                connection.close_reason,
                connection.close_code or "",
            )
        return format_html("<strong>{}</strong>" if state == LIVE else "{}", state)

    @admin.display(description="session")
    def session_link(self, connection: Connection) -> str:
        if connection.session_id is None:
            return NOTHING
        return link("sessions_app.Session", connection.session_id, short_id(connection.session_id))

    @admin.display(description="last heard")
    def seen(self, connection: Connection) -> str:
        return in_words(connection.last_seen)

    @admin.display(description="in conversations")
    def conversations(self, connection: Connection) -> str:
        """The conversations that it has joined, the first ones."""
        joined = Subscription.objects.filter(connection=connection, left_at__isnull=True)
        found = list(joined.select_related("conversation")[: CONVERSATIONS_SHOWN + 1])
        return table(
            ("conversation", "joined", "tab"),
            (
                (
                    link("sessions_app.Conversation", row.conversation_id, row.conversation),
                    in_words(row.joined_at),
                    "hidden" if row.is_away else "shown",
                )
                for row in found[:CONVERSATIONS_SHOWN]
            ),
            more="… and more" if len(found) > CONVERSATIONS_SHOWN else "",
        )

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may use the actions, although nobody may edit a row."""
        return request.user.has_perm("connections.change_connection")

    def has_delete_permission(self, request: HttpRequest, obj: Connection | None = None) -> bool:
        if not request.user.has_perm("connections.delete_connection"):
            return False
        return obj is None or connection_state(obj) == CLOSED

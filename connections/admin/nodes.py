"""Nodes in the admin: which server processes run, and how much each holds."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from connections.admin.states import LIVE, LOST, node_is_alive, open_count
from connections.models import Node
from ovara.admin.cells import list_link, time_column
from ovara.admin.lists import ReadOnlyAdmin


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin[Node]):
    """Read only; a dead node's row goes when its connections are past their retention."""

    list_display = (
        "__str__",
        "alive",
        "live_connections",
        time_column("started_at", "started"),
        time_column("last_heartbeat", "heartbeat"),
        time_column("stopped_at", "stopped"),
    )
    fields = (
        "id",
        "hostname",
        "pid",
        "alive",
        "live_connections",
        "started_at",
        "last_heartbeat",
        "stopped_at",
    )
    search_fields = ("hostname__icontains",)
    search_help_text = "A node id, or a part of the host name."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        return super().get_queryset(request).annotate(open_connections=open_count("node"))

    @admin.display(boolean=True)
    def alive(self, node: Node) -> bool:
        return node_is_alive(node)

    @admin.display(description="live connections")
    def live_connections(self, node: Node) -> str:
        """The count, linked to the list; of a dead node, what it left open."""
        count: int = getattr(node, "open_connections", 0)
        if node_is_alive(node):
            return list_link("connections.Connection", count, node=node.pk, state=LIVE)
        if not count:
            return "0"
        lost = f"0 ({count} lost)"
        return list_link("connections.Connection", lost, node=node.pk, state=LOST)

"""Clients in the admin: browser profiles and device installs."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from connections.admin.states import open_count
from connections.models import Client
from ovara.admin.cells import NOTHING, link, link_column, list_link, time_column
from ovara.admin.filters import UserFilter
from ovara.admin.lists import ReadOnlyAdmin
from sessions_app.models import Session


@admin.register(Client)
class ClientAdmin(ReadOnlyAdmin[Client]):
    """Read only. Deleting one frees its id for another user; refused while it is connected."""

    list_display = (
        "__str__",
        link_column("user"),
        "open_connections",
        time_column("last_seen"),
        time_column("first_seen"),
    )
    list_select_related = ("user",)
    list_filter = (UserFilter,)
    search_user_field = "user_id"
    search_id_fields = ("id", "user_id")
    search_help_text = "A client or user id, or a part of the user name."
    fields = ("id", "label", "user", "session", "open_connections", "first_seen", "last_seen")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Client]:
        return super().get_queryset(request).annotate(connection_count=open_count("client"))

    @admin.display(description="open connections")
    def open_connections(self, client: Client) -> str:
        count = getattr(client, "connection_count", 0)
        return list_link("connections.Connection", count, q=client.pk)

    @admin.display
    def session(self, client: Client) -> str:
        found = Session.objects.filter(client_id=client.pk).first()
        return NOTHING if found is None else link("sessions_app.Session", found.pk, found)

    def has_delete_permission(self, request: HttpRequest, obj: Client | None = None) -> bool:
        # Its connections would go along, and an open one refuses.
        return request.user.has_perm("connections.delete_client")

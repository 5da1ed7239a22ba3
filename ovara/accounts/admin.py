"""Accounts in the admin.

Deactivating an account (or deleting it) ends its open connections within a second. Deleting takes
the account's clients, sessions and participations along, and leaves its messages without a sender:
only a superuser may, and not while the user is connected. Revoked tokens can be added, which ends
their connections, and deleted, which lets the token in again while it lasts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest
from django.utils.html import format_html_join

from ovara.accounts.models import RevokedToken, User
from ovara.admin.cells import list_link, time_column
from ovara.admin.lists import SearchAdmin
from ovara.conf import ovara_settings
from ovara.times import now

if TYPE_CHECKING:
    _DjangoUserAdmin = DjangoUserAdmin[User]
else:
    # Generic in the type stubs only.
    _DjangoUserAdmin = DjangoUserAdmin


@admin.register(User)
class UserAdmin(SearchAdmin[User], _DjangoUserAdmin):
    """Django's own page for accounts, with the way to what the user has open."""

    list_display = ("username", "email", "is_active", "is_staff", time_column("last_login"))
    list_filter = ("is_active", "is_staff", "is_superuser")
    readonly_fields = ("id", "activity", "last_login", "date_joined")
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), ("Ovara", {"fields": ("id", "activity")}))

    @admin.display(description="activity")
    def activity(self, user: User) -> str:
        """Links to the lists of other apps, narrowed to this user."""
        lists = (
            ("connections.Connection", "connections", {"user": user.username}),
            ("connections.Client", "clients", {"user": user.username}),
            ("sessions_app.Session", "sessions", {"user": user.username}),
            ("sessions_app.Conversation", "conversations", {"participant": user.username}),
            ("sessions_app.Message", "messages", {"sender": user.username}),
        )
        links = ((list_link(model, text, **query),) for model, text, query in lists)
        return format_html_join(" · ", "{}", links)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(request.user.is_superuser) and obj != request.user


@admin.register(RevokedToken)
class RevokedTokenAdmin(SearchAdmin[RevokedToken]):
    """Tokens that are refused; the server adds a row at every sign-out."""

    list_display = ("jti", time_column("revoked_at"), time_column("expires_at"))
    search_fields = ("jti__exact",)
    search_help_text = "A whole token or family id."
    search_id_fields = ()
    fields = ("jti", "expires_at")
    ordering = ("-expires_at", "jti")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """By then every token of the family is expired, whichever it was."""
        lifetime = timedelta(days=ovara_settings().refresh_token_lifetime_days)
        return {"expires_at": now() + lifetime} | super().get_changeform_initial_data(request)

    def has_change_permission(self, request: HttpRequest, obj: RevokedToken | None = None) -> bool:
        return False

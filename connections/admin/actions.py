"""What an administrator can do to open connections: disconnect them, or send them a notice.

Both go through the manager, so they reach the connections of every node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from connections.admin.states import LIVE, state_filter
from connections.close_codes import CloseCode
from connections.errors import ChannelLayerNotShared
from connections.manager import websocket_manager
from connections.models import Connection
from ovara.errors import OvaraError

if TYPE_CHECKING:
    from connections.admin.connections import ConnectionAdmin

# Each connection is told separately, while the administrator waits for the page.
CONNECTIONS_AT_ONCE = 500
NOTICE_MAX_LENGTH = 1000
# Errors whose words say what to do.
TELLABLE = (OvaraError, ChannelLayerNotShared)


class NoticeForm(forms.Form):
    """The text of a notice, as a person reads it."""

    text = forms.CharField(
        max_length=NOTICE_MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 4, "autofocus": True, "class": "vLargeTextField"}),
        help_text=f"Plain text, at most {NOTICE_MAX_LENGTH} characters.",
    )


@admin.action(description="Disconnect", permissions=["operate"])
def disconnect(
    model_admin: ConnectionAdmin, request: HttpRequest, queryset: QuerySet[Connection]
) -> None:
    """Close the selected live connections with 4510: their clients stay away."""
    chosen = _live(model_admin, request, queryset)
    if not chosen:
        return
    code = CloseCode.DISCONNECTED
    try:
        _disconnect(chosen, code)
    except TELLABLE as error:
        model_admin.message_user(request, f"Not all were disconnected: {error}", messages.ERROR)
        return
    _record(request, chosen, "Disconnected.")
    model_admin.message_user(
        request,
        f"{_count(chosen)} told to close with {code:d} ({code.reason}).",
        messages.SUCCESS,
    )


@admin.action(description="Send a notice", permissions=["operate"])
def send_notice(
    model_admin: ConnectionAdmin, request: HttpRequest, queryset: QuerySet[Connection]
) -> HttpResponse | None:
    """Ask for a text, then send it to the selected live connections as a `notification`."""
    chosen = _live(model_admin, request, queryset)
    if not chosen:
        return None
    form = NoticeForm(request.POST if "send" in request.POST else None)
    if not form.is_valid():
        return _ask(model_admin, request, chosen, form)
    try:
        _send(chosen, form.cleaned_data["text"])
    except TELLABLE as error:
        model_admin.message_user(request, f"The notice did not reach all: {error}", messages.ERROR)
        return None
    _record(request, chosen, "Sent a notice.")
    model_admin.message_user(request, f"Notice sent to {_count(chosen)}.", messages.SUCCESS)
    return None


def _disconnect(chosen: list[Connection], code: CloseCode) -> None:
    for connection in chosen:
        websocket_manager.sync.disconnect(str(connection.pk), code=code, reason=code.reason)


def _send(chosen: list[Connection], text: str) -> None:
    for connection in chosen:
        websocket_manager.sync.send_to_connection(
            str(connection.pk), {"type": "notification", "text": text}
        )


def _live(
    model_admin: ConnectionAdmin, request: HttpRequest, queryset: QuerySet[Connection]
) -> list[Connection]:
    """The live ones of `queryset`; empty, and the reason shown, if nothing can be done."""
    chosen = list(queryset.filter(state_filter(LIVE))[: CONNECTIONS_AT_ONCE + 1])
    if len(chosen) > CONNECTIONS_AT_ONCE:
        text = f"Select at most {CONNECTIONS_AT_ONCE} live connections; nothing was done."
        model_admin.message_user(request, text, messages.ERROR)
        return []
    if not chosen:
        text = "None of the selected connections is live; nothing was done."
        model_admin.message_user(request, text, messages.WARNING)
    return chosen


def _ask(
    model_admin: ConnectionAdmin,
    request: HttpRequest,
    chosen: list[Connection],
    form: NoticeForm,
) -> HttpResponse:
    """The page between: the text, and to whom it goes."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"Send a notice to {_count(chosen)}",
        "opts": model_admin.opts,
        "form": form,
        "chosen": chosen,
        "users": sorted({c.user.username for c in chosen if c.user is not None}),
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "media": model_admin.media,
    }
    return TemplateResponse(request, "admin/connections/connection/send_notice.html", context)


def _record(request: HttpRequest, chosen: list[Connection], what: str) -> None:
    """Keep in the admin's history who did it; never the text itself."""
    LogEntry.objects.log_actions(str(request.user.pk), chosen, CHANGE, what)


def _count(chosen: list[Connection]) -> str:
    return "1 connection" if len(chosen) == 1 else f"{len(chosen)} connections"

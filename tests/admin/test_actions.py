"""The actions' pages and refusals; test_actions_live.py has what they do to open connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client as Browser

from connections.admin import actions
from connections.models import Connection
from ovara.accounts.models import User
from tests.admin import rows
from tests.admin.pages import list_address, page_address, readable

pytestmark = pytest.mark.django_db


def act(browser: Browser, action: str, chosen: Iterable[Connection], **fields: str) -> str:
    """Run `action` as the list's form does; what the page after it says."""
    values = {"action": action, "_selected_action": [str(row.pk) for row in chosen], **fields}
    answer = browser.post(list_address(Connection), values, follow=True)
    assert answer.status_code == 200
    return readable(answer.content.decode())


@pytest.mark.parametrize("action", ["disconnect", "send_notice"])
def test_an_action_on_connections_that_are_not_live_does_nothing_and_says_so(
    action: str, admin: Browser
) -> None:
    closed = rows.make_connection(closed=1000)
    lost = rows.make_connection(node=rows.make_node(alive=False))
    page = act(admin, action, [closed, lost], send="Send", text="hello")
    assert "None of the selected connections is live; nothing was done." in page
    assert not Connection.objects.filter(requested_close_code__isnull=False).exists()


@pytest.mark.parametrize("action", ["disconnect", "send_notice"])
def test_an_action_on_too_many_connections_does_nothing_and_says_so(
    action: str, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "CONNECTIONS_AT_ONCE", 2)
    chosen = [rows.make_connection() for _ in range(3)]
    page = act(admin, action, chosen, send="Send", text="hello")
    assert "Select at most 2 live connections; nothing was done." in page
    assert not Connection.objects.filter(requested_close_code__isnull=False).exists()


def test_a_notice_asks_for_its_text_and_says_to_whom_it_goes(admin: Browser) -> None:
    live = rows.make_connection(user=rows.make_user("alice"))
    closed = rows.make_connection(user=rows.make_user("bob"), closed=1000)
    page = act(admin, "send_notice", [live, closed])
    assert "Send a notice to 1 connection" in page
    assert "It goes to 1 live connection of alice." in page
    assert "bob" not in page


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "This field is required."),
        ("   ", "This field is required."),
        ("x" * 1001, "at most 1000 characters"),
        ("a\0b", "Null characters are not allowed."),
    ],
)
def test_a_notice_with_a_bad_text_is_asked_for_again(text: str, error: str, admin: Browser) -> None:
    page = act(admin, "send_notice", [rows.make_connection()], send="Send", text=text)
    assert error in page
    assert "Send a notice to 1 connection" in page


@pytest.mark.django_db(transaction=True)
def test_a_notice_from_a_process_that_shares_no_layer_with_the_server_says_what_to_set(
    admin: Browser,
) -> None:
    # This process holds no connections, and its channel layer is in memory.
    page = act(admin, "send_notice", [rows.make_connection()], send="Send", text="hello")
    assert "The notice did not reach all" in page
    assert "Set REDIS_URL" in page
    assert not LogEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_disconnect_asks_the_node_of_each_live_connection_and_keeps_who_did_it(
    admin: Browser, superuser: User
) -> None:
    live, lost = rows.make_connection(), rows.make_connection(node=rows.make_node(alive=False))
    page = act(admin, "disconnect", [live, lost])
    assert "1 connection told to close with 4510" in page
    live.refresh_from_db()
    lost.refresh_from_db()
    assert live.requested_close_code == 4510
    assert live.requested_close_reason == "disconnected by an administrator"
    assert lost.requested_close_code is None
    entry = LogEntry.objects.get()
    assert entry.user_id == superuser.pk
    assert entry.object_id == str(live.pk)
    assert "Disconnected." in readable(admin.get(page_address(live, "history")).content.decode())


@pytest.mark.parametrize("action", ["disconnect", "send_notice"])
def test_the_permission_to_view_is_not_enough_to_act(
    action: str, staff_with: Callable[..., Browser]
) -> None:
    live = rows.make_connection()
    browser = staff_with("connections.view_connection")
    offered = browser.get(list_address(Connection)).content.decode()
    assert f'value="{action}"' not in offered
    act(browser, action, [live], send="Send", text="hello")
    live.refresh_from_db()
    assert live.requested_close_code is None


def test_the_permission_to_change_offers_both_actions_and_no_deletion(
    staff_with: Callable[..., Browser],
) -> None:
    rows.make_connection()
    browser = staff_with("connections.change_connection")
    offered = browser.get(list_address(Connection)).content.decode()
    assert 'value="disconnect"' in offered
    assert 'value="send_notice"' in offered
    assert 'value="delete_selected"' not in offered

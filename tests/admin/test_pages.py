"""Every list and every detail page: opens for staff, stays closed to others, stays cheap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection as database
from django.db.models import Model
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from connections.models import Client, Connection, Node
from ovara.accounts.models import RevokedToken, User
from sessions_app.models import Conversation, Message, Session
from tests.admin import rows
from tests.admin.pages import add_address, list_address, listed, page_address, text_of

pytestmark = pytest.mark.django_db


def _connection() -> Connection:
    connection = rows.make_connection(ip_address="192.0.2.7", user_agent="a browser")
    rows.make_subscription(connection)
    return connection


MAKERS: dict[type[Model], Callable[[], Model]] = {
    Connection: _connection,
    Client: lambda: Client.objects.get(pk=rows.make_connection().client_id),
    Node: lambda: rows.make_connection().node,
    Session: rows.make_session,
    Conversation: rows.make_conversation,
    Message: lambda: rows.make_message(rows.make_conversation(), role="system", sender=None),
    User: rows.make_user,
    RevokedToken: rows.make_revoked_token,
}
# What the program alone writes.
READ_ONLY = [Connection, Client, Node, Session, Conversation, Message]

every_model = pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
every_read_only_model = pytest.mark.parametrize("model", READ_ONLY, ids=lambda one: one.__name__)


def queries_of(browser: Browser, address: str) -> int:
    with CaptureQueriesContext(database) as queries:
        assert browser.get(address).status_code == 200
    return len(queries)


@every_model
def test_the_list_and_the_page_of_a_row_open_for_staff(model: type[Model], admin: Browser) -> None:
    row = MAKERS[model]()
    assert row in listed(admin, model)
    assert str(row) in text_of(admin, page_address(row))


@every_model
def test_the_pages_are_closed_to_who_is_not_staff(model: type[Model]) -> None:
    row = MAKERS[model]()
    browser = Browser()
    browser.force_login(rows.make_user("alice"))
    for address in (list_address(model), page_address(row)):
        answer = browser.get(address)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")


@every_model
def test_staff_without_the_permission_to_view_are_refused(
    model: type[Model], staff_with: Callable[..., Browser]
) -> None:
    row = MAKERS[model]()
    browser = staff_with()
    assert browser.get(list_address(model)).status_code == 403
    assert browser.get(page_address(row)).status_code == 403


@every_model
def test_the_permission_to_view_is_enough_to_see(
    model: type[Model], staff_with: Callable[..., Browser]
) -> None:
    row = MAKERS[model]()
    browser = staff_with(f"{model._meta.app_label}.view_{model._meta.model_name}")
    assert row in listed(browser, model)
    assert str(row) in text_of(browser, page_address(row))


@every_model
def test_a_list_takes_as_many_queries_for_50_rows_as_for_5(
    model: type[Model], admin: Browser
) -> None:
    for _ in range(5):
        MAKERS[model]()
    # The first answer also fills caches of the process.
    admin.get(list_address(model))
    few = queries_of(admin, list_address(model))
    for _ in range(45):
        MAKERS[model]()
    assert queries_of(admin, list_address(model)) == few
    assert few <= 10


@every_model
def test_a_list_shows_50_rows_and_no_way_to_show_all_of_more(
    model: type[Model], admin: Browser
) -> None:
    for _ in range(51):
        MAKERS[model]()
    assert len(listed(admin, model)) == 50
    assert len(listed(admin, model, all="")) == 50
    assert listed(admin, model, p=2)


@every_read_only_model
def test_what_the_program_writes_can_be_neither_added_nor_changed(
    model: type[Model], admin: Browser
) -> None:
    row = MAKERS[model]()
    before = model._default_manager.filter(pk=row.pk).values().get()
    assert admin.get(add_address(model)).status_code == 403
    assert admin.post(add_address(model), {"title": "new"}).status_code == 403
    changed = {"label": "new", "title": "new", "content": "new", "hostname": "new", "state": "{}"}
    assert admin.post(page_address(row), changed).status_code == 403
    assert model._default_manager.filter(pk=row.pk).values().get() == before


@pytest.mark.parametrize("query", [{"q": "\0"}, {"q": "'\"%_"}, {"user": "\0"}, {"state": "?"}])
def test_strange_searches_and_filters_are_answered(query: dict[str, str], admin: Browser) -> None:
    rows.make_connection()
    assert admin.get(list_address(Connection), query).status_code == 200


@pytest.mark.parametrize("query", [{"node": "no-id"}, {"client": "no-id"}, {"nonsense": "1"}])
def test_a_wrong_filter_leads_back_to_the_list(query: dict[str, str], admin: Browser) -> None:
    rows.make_connection()
    answer = admin.get(list_address(Connection), query)
    assert answer.status_code == 302
    assert answer["Location"] == list_address(Connection) + "?e=1"

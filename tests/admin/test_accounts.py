"""Accounts and revoked tokens in the admin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client as Browser
from django.urls import reverse

from connections.models import Connection
from ovara.accounts.models import RevokedToken, User
from ovara.conf import ovara_settings
from ovara.times import now
from tests.admin import rows
from tests.admin.pages import add_address, list_address, listed, page_address

pytestmark = pytest.mark.django_db


def test_an_account_can_be_deactivated_and_activated_again(admin: Browser) -> None:
    alice = rows.make_user("alice")
    for is_active in (False, True):
        form = admin.get(page_address(alice)).context["adminform"].form
        values = {name: value for name, value in form.initial.items() if value is not None}
        values |= {"groups": [], "user_permissions": []}
        del values["is_active"]
        answer = admin.post(
            page_address(alice), values | ({"is_active": "on"} if is_active else {})
        )
        assert answer.status_code == 302, answer.context["errors"]
        alice.refresh_from_db()
        assert alice.is_active is is_active
        assert alice.username == "alice"


def test_an_account_can_be_added_and_its_password_set(admin: Browser) -> None:
    passwords = {"password1": "a long pass phrase", "password2": "a long pass phrase"}
    answer = admin.post(
        add_address(User), {"username": "carol", "usable_password": "true"} | passwords
    )
    assert answer.status_code == 302
    carol = User.objects.get(username="carol")
    assert carol.check_password("a long pass phrase")
    address = reverse("admin:auth_user_password_change", args=[carol.pk])
    passwords = dict.fromkeys(passwords, "another long pass phrase")
    assert admin.post(address, {"usable_password": "true"} | passwords).status_code == 302
    carol.refresh_from_db()
    assert carol.check_password("another long pass phrase")


def test_accounts_are_found_by_id_name_and_address(admin: Browser) -> None:
    alice = rows.make_user("alice", email="al@example.org")
    rows.make_user("bob")
    for text in (str(alice.pk), "lic", "al@example"):
        assert listed(admin, User, q=text) == [alice]


def test_an_account_links_to_all_that_is_its_own(admin: Browser) -> None:
    connection = rows.make_connection(user=rows.make_user("al+ice"))
    rows.make_connection()
    assert connection.user is not None
    page = admin.get(page_address(connection.user)).content.decode()
    assert f'href="{list_address(Connection)}?user=al%2Bice"' in page
    answer = admin.get(f"{list_address(Connection)}?user=al%2Bice")
    assert list(answer.context["cl"].result_list) == [connection]


def test_a_superuser_can_delete_an_account_that_is_not_connected(admin: Browser) -> None:
    closed, live = rows.make_connection(closed=1000), rows.make_connection()
    conversation = rows.make_conversation()
    sender = conversation.messages.get(sequence=1).sender
    for user in (closed.user, sender):
        assert user is not None
        assert admin.post(page_address(user, "delete"), {"post": "yes"}).status_code == 302
    assert live.user is not None
    assert admin.post(page_address(live.user, "delete"), {"post": "yes"}).status_code == 403
    assert set(User.objects.filter(pk__in=[closed.user_id, live.user_id])) == {live.user}
    assert conversation.messages.count() == 2


def test_nobody_deletes_their_own_account_or_without_being_a_superuser(
    admin: Browser, superuser: User, staff_with: Callable[..., Browser]
) -> None:
    assert admin.post(page_address(superuser, "delete"), {"post": "yes"}).status_code == 403
    browser = staff_with("accounts.view_user", "accounts.delete_user")
    assert browser.post(page_address(superuser, "delete"), {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=superuser.pk).exists()


def test_a_token_can_be_revoked_by_adding_it(admin: Browser) -> None:
    form = admin.get(add_address(RevokedToken)).context["adminform"].form
    lifetime = timedelta(days=ovara_settings().refresh_token_lifetime_days)
    assert abs(form.initial["expires_at"] - now() - lifetime) < timedelta(minutes=1)
    values = {"jti": "family-9", "expires_at_0": "2030-01-01", "expires_at_1": "00:00:00"}
    assert admin.post(add_address(RevokedToken), values).status_code == 302
    assert RevokedToken.objects.get().jti == "family-9"


def test_a_revoked_token_is_found_and_can_be_deleted_but_not_changed(admin: Browser) -> None:
    row, other = rows.make_revoked_token(), rows.make_revoked_token()
    assert listed(admin, RevokedToken, q=row.jti) == [row]
    assert admin.post(page_address(row), {"jti": "other"}).status_code == 403
    assert admin.post(page_address(row, "delete"), {"post": "yes"}).status_code == 302
    assert RevokedToken.objects.get() == other

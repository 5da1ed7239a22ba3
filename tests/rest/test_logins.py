"""The limit of sign-ins, at every door that takes a password."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from django.contrib.auth import aauthenticate, authenticate
from django.http import HttpResponse
from django.test import Client

from ovara.accounts import limits
from ovara.accounts.models import User
from ovara.errors import RateLimited
from tests.rest.conftest import PASSWORD

LIMIT = 3
NOON = 1_800_000_000.5


@pytest.fixture(autouse=True)
def low_limit(settings, monkeypatch):
    # Lest a minute end in the middle of a test.
    monkeypatch.setattr(limits, "time", lambda: NOON)
    settings.OVARA = dataclasses.replace(settings.OVARA, logins_per_minute=LIMIT)


def by_token(client: Client, username: str, password: str, address: str) -> HttpResponse:
    body = {"username": username, "password": password}
    return client.post("/api/token/", body, "application/json", REMOTE_ADDR=address)


def by_page(client: Client, username: str, password: str, address: str) -> HttpResponse:
    body = {"username": username, "password": password}
    return client.post("/login/", body, REMOTE_ADDR=address)


def by_admin(client: Client, username: str, password: str, address: str) -> HttpResponse:
    body = {"username": username, "password": password}
    return client.post("/admin/login/", body, REMOTE_ADDR=address)


DOORS = [by_token, by_page, by_admin]


@pytest.mark.parametrize("door", DOORS)
def test_an_address_may_try_so_often_and_no_more(client, staff, door: Callable[..., HttpResponse]):
    for number in range(LIMIT):
        answer = door(client, f"name-{number}", "wrong", "192.0.2.1")
        assert answer.status_code in (200, 401)

    refused = door(client, "staff", PASSWORD, "192.0.2.1")
    assert refused.status_code == 429
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert "sessionid" not in client.cookies

    elsewhere = door(client, "staff", PASSWORD, "192.0.2.2")
    assert elsewhere.status_code in (200, 302)


@pytest.mark.parametrize("door", DOORS)
def test_an_account_may_be_tried_so_often_from_anywhere(client, staff, alice, door):
    for number in range(LIMIT):
        door(client, "staff", "wrong", f"192.0.2.{number}")
    assert door(client, "staff", PASSWORD, "192.0.2.99").status_code == 429
    assert by_token(client, "alice", PASSWORD, "192.0.2.99").status_code == 200


def test_the_doors_share_one_count(client, staff):
    for door in DOORS:
        door(client, "staff", "wrong", "192.0.2.1")
    assert by_token(client, "staff", PASSWORD, "192.0.2.1").status_code == 429


def test_rest_says_it_as_an_error(client, alice):
    for _ in range(LIMIT + 1):
        answer = by_token(client, "alice", PASSWORD, "192.0.2.1")
    assert answer.json()["code"] == "rate_limited"
    assert set(answer.json()) == {"detail", "code"}


def test_a_page_says_it_in_words(client, alice):
    for _ in range(LIMIT + 1):
        answer = by_page(client, "alice", "wrong", "192.0.2.1")
    assert "Too many sign-ins: try again in" in answer.content.decode()


def test_an_address_over_its_limit_locks_nobody_out(client, alice):
    for number in range(LIMIT):
        by_token(client, f"name-{number}", "wrong", "192.0.2.1")
    for _ in range(LIMIT):
        assert by_token(client, "alice", "wrong", "192.0.2.1").status_code == 429
    assert by_token(client, "alice", PASSWORD, "192.0.2.2").status_code == 200


def test_the_next_minute_starts_anew(client, alice, monkeypatch):
    for _ in range(LIMIT + 1):
        refused = by_token(client, "alice", PASSWORD, "192.0.2.1")
    later = NOON + int(refused["Retry-After"])
    monkeypatch.setattr(limits, "time", lambda: later)
    assert by_token(client, "alice", PASSWORD, "192.0.2.1").status_code == 200


@pytest.mark.parametrize("name", ["x" * 10_000, "two words\nand a line", "名前"])
def test_names_of_any_form_are_counted(client, db, name):
    for _ in range(LIMIT):
        assert by_token(client, name, "wrong", "192.0.2.1").status_code == 401
    assert by_token(client, name, "wrong", "192.0.2.2").status_code == 429


def test_code_without_a_request_is_counted_by_account(alice):
    for _ in range(LIMIT):
        assert authenticate(username="alice", password=PASSWORD) == alice
    with pytest.raises(RateLimited):
        authenticate(username="alice", password=PASSWORD)


@pytest.mark.django_db(transaction=True)
async def test_coroutines_find_no_way_around():
    await User.objects.acreate(username="alice")
    for _ in range(LIMIT):
        assert await aauthenticate(username="alice", password="wrong") is None
    with pytest.raises(RateLimited):
        await aauthenticate(username="alice", password="wrong")


def test_without_its_counters_nobody_gets_in(client, alice, settings):
    # A port where nothing listens.
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }
    answer = by_token(client, "alice", PASSWORD, "192.0.2.1")
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    page = by_page(client, "alice", PASSWORD, "192.0.2.1")
    assert page.status_code == 503
    assert "sessionid" not in client.cookies

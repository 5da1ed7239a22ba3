"""People, and the two ways in which they call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from ovara.accounts.models import User
from ovara.accounts.tokens import RefreshToken

PASSWORD = "a password for tests"


@pytest.fixture(autouse=True)
def fresh_counters() -> Iterator[None]:
    """Sign-ins of other tests do not count."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def user(db: None) -> Callable[..., User]:
    def make(username: str, **fields: bool) -> User:
        return User.objects.create_user(username, password=PASSWORD, **fields)

    return make


@pytest.fixture
def alice(user: Callable[..., User]) -> User:
    return user("alice")


@pytest.fixture
def bob(user: Callable[..., User]) -> User:
    return user("bob")


@pytest.fixture
def carol(user: Callable[..., User]) -> User:
    return user("carol")


@pytest.fixture
def staff(user: Callable[..., User]) -> User:
    return user("staff", is_staff=True)


@pytest.fixture
def nobody() -> APIClient:
    return APIClient()


@pytest.fixture
def bearer() -> Callable[[User], APIClient]:
    """`bearer(alice)`: calls with an access token."""

    def make(user: User) -> APIClient:
        return with_token(str(RefreshToken.for_user(user).access_token))

    return make


@pytest.fixture
def page() -> Callable[[User], APIClient]:
    """`page(alice)`: calls as her signed-in browser does, CSRF token and all."""

    def make(user: User) -> APIClient:
        client = signed_in_without_csrf(user)
        csrf_token = "t" * 32
        client.cookies["csrftoken"] = csrf_token
        client.credentials(HTTP_X_CSRFTOKEN=csrf_token)
        return client

    return make


@pytest.fixture(params=["bearer", "page"])
def call_as(request: pytest.FixtureRequest) -> Callable[[User], APIClient]:
    """The test runs with a token, and with a browser session."""
    found: Callable[[User], APIClient] = request.getfixturevalue(request.param)
    return found


def with_token(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def signed_in_without_csrf(user: User) -> APIClient:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    return client

"""Who opens the admin's pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from ovara.accounts.models import User


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def admin(superuser: User) -> Client:
    """Signed in as the superuser."""
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture
def staff_with(db: None) -> Callable[..., Client]:
    """`staff_with("connections.view_connection", …)`: staff with these alone."""

    def sign_in(*permissions: str) -> Client:
        user = User.objects.create_user("helper", is_staff=True)
        for permission in permissions:
            app_label, codename = permission.split(".")
            user.user_permissions.add(
                Permission.objects.get(content_type__app_label=app_label, codename=codename)
            )
        client = Client()
        client.force_login(user)
        return client

    return sign_in

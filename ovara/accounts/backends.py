"""Where every password is checked: by the token view, by the sign-in page and by the admin's."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from ovara.accounts.limits import login_attempt_count
from ovara.accounts.models import User


class LimitedModelBackend(ModelBackend):
    """Django's own backend, behind the limit of sign-ins: no door leads around it."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """The active user of that name and password, or None.

        Raises:
            RateLimited: too many attempts; the password was not looked at.
        """
        if username is None or password is None:
            return None
        address = request.META.get("REMOTE_ADDR") if request is not None else None
        login_attempt_count(address=address, username=username)
        user: User | None = super().authenticate(request, username, password, **kwargs)
        return user

    async def aauthenticate(self, *args: Any, **kwargs: Any) -> User | None:
        """The same for coroutines. Django's would check the password without our limit."""
        return await sync_to_async(self.authenticate)(*args, **kwargs)

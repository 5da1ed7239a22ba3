"""Who calls: a bearer token or a browser session."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication

from ovara.accounts.models import User
from ovara.accounts.selectors import revoked_among
from ovara.accounts.tokens import VerifiedToken, verify_access_token
from ovara.errors import Unauthenticated


def caller(request: Request) -> User:
    """The user that `request` was authenticated as; for views that nobody else reaches."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


class BearerAuthentication(JWTAuthentication):
    """`Authorization: Bearer <access token>`, neither revoked nor of a deactivated user."""

    def authenticate(  # type: ignore[override]  # `auth` is more than a token here
        self, request: Request
    ) -> tuple[User, VerifiedToken] | None:
        """The token's user, or None where the header brings no bearer token.

        Raises:
            AuthenticationFailed: the token is of no use; the message says why.
        """
        raw = self.get_raw_token(get_authorization_header(request))
        if raw is None:
            return None
        try:
            token = verify_access_token(raw.decode("latin-1"))
        except Unauthenticated as error:
            raise AuthenticationFailed(str(error)) from None
        if revoked_among(token.keys):
            raise AuthenticationFailed("The token was revoked: sign in again.")
        user = User.objects.filter(pk=token.user_id, is_active=True).first()
        if user is None:
            raise AuthenticationFailed("The token's user is gone or deactivated.")
        return user, token


class BrowserSessionAuthentication(SessionAuthentication):
    """A Django session with CSRF, and 401 (not 403) without one."""

    def authenticate_header(self, request: Request) -> str:
        """What a 401 names as the way in."""
        return 'Session realm="api"'


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # no types
    """How the OpenAPI schema describes BearerAuthentication."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """An HTTP bearer scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token of `POST /api/token/`.",
        }


class BrowserSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # no types
    """How the OpenAPI schema describes a Django session; unsafe methods need `X-CSRFToken`."""

    target_class = BrowserSessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The session cookie."""
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "A signed-in browser. Unsafe methods also need the CSRF token, in the "
            "header `X-CSRFToken`.",
        }

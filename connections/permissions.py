"""Who may look at connections and end them."""

from __future__ import annotations

import hmac
from typing import Any

from django.contrib.auth.models import AnonymousUser
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from ovara.conf import ovara_settings


class IsStaff(BasePermission):
    """Staff only: operations."""

    message = "Only staff may do this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the caller is staff."""
        # Nobody's `user` is None: see UNAUTHENTICATED_USER.
        return getattr(request.user, "is_staff", False)


class MetricsToken:
    """What `request.auth` is for a scraper that brought `OVARA_METRICS_TOKEN`."""


class MetricsTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <OVARA_METRICS_TOKEN>`; no user, and good for metrics alone."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, MetricsToken] | None:
        """None where the token is not set, or another was brought."""
        token = ovara_settings().metrics_token
        given = get_authorization_header(request)
        if token and hmac.compare_digest(given, f"Bearer {token}".encode()):
            return AnonymousUser(), MetricsToken()
        return None

    def authenticate_header(self, request: Request) -> str:
        """What a 401 names as the way in."""
        return 'Bearer realm="api"'


class MetricsTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # no types
    """How the OpenAPI schema describes MetricsTokenAuthentication."""

    target_class = MetricsTokenAuthentication
    name = "metrics"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """An HTTP bearer scheme, of another token than `bearer`."""
        return {"type": "http", "scheme": "bearer", "description": "OVARA_METRICS_TOKEN."}


class MayReadMetrics(IsStaff):
    """Staff, or the bearer of the metrics token."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the caller is either."""
        return isinstance(request.auth, MetricsToken) or super().has_permission(request, view)

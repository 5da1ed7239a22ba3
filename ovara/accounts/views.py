"""Issuing, renewing, checking and revoking tokens."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt import views as simplejwt

from ovara.accounts import serializers
from ovara.accounts.authentication import BrowserSessionAuthentication, caller
from ovara.accounts.tokens import AccessToken
from ovara.schema import errors

tags = ["tokens"]


class TokenView(simplejwt.TokenObtainPairView):
    """Sign in with name and password."""

    serializer_class = serializers.TokenObtainSerializer

    @extend_schema(
        operation_id="token_obtain",
        tags=tags,
        responses={200: serializers.TokenPairSerializer} | errors(400, 401, 415, 429),
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A refresh token and an access token, for a name and a password."""
        return super().post(request, *args, **kwargs)


class TokenRefreshView(simplejwt.TokenRefreshView):
    """Renew."""

    serializer_class = serializers.TokenRefreshSerializer

    @extend_schema(
        operation_id="token_refresh",
        tags=tags,
        responses={200: serializers.AccessTokenSerializer} | errors(400, 401, 415),
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A new access token, for a refresh token."""
        return super().post(request, *args, **kwargs)


class TokenVerifyView(simplejwt.TokenVerifyView):
    """Check."""

    serializer_class = serializers.TokenVerifySerializer

    @extend_schema(
        operation_id="token_verify",
        tags=tags,
        responses={200: serializers.NothingSerializer} | errors(400, 401, 415),
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Whether a token, of either type, is good and not revoked."""
        return super().post(request, *args, **kwargs)


class TokenBlacklistView(simplejwt.TokenBlacklistView):
    """Revoke."""

    serializer_class = serializers.TokenBlacklistSerializer

    @extend_schema(
        operation_id="token_blacklist",
        tags=tags,
        responses={200: serializers.NothingSerializer} | errors(400, 401, 415),
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Revoke a refresh token and every access token made from it; connections end with 4401."""
        return super().post(request, *args, **kwargs)


class SessionTokenView(APIView):
    """For pages: a browser session becomes an access token, so no script holds a lasting secret."""

    authentication_classes = (BrowserSessionAuthentication,)

    @extend_schema(
        operation_id="token_session",
        tags=tags,
        request=None,
        responses={200: serializers.AccessTokenSerializer} | errors(401, 403),
    )
    def post(self, request: Request) -> Response:
        """An access token, for a signed-in browser session; signing out there revokes it."""
        token = AccessToken.for_session(caller(request), request.session)
        return Response({"access": str(token)})

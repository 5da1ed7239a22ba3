"""The bodies of the token calls: simplejwt's shapes, our tokens."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import UntypedToken

from ovara.accounts.models import User
from ovara.accounts.selectors import revoked_among
from ovara.accounts.tokens import RefreshToken, token_keys
from ovara.fields import TextField


class UserRefSerializer(serializers.Serializer[Any]):
    """A user as others see them."""

    id = serializers.UUIDField()
    username = serializers.CharField()


class TokenObtainSerializer(simplejwt.TokenObtainPairSerializer):
    """Name and password for a pair of tokens; the limit of sign-ins is in the backend."""

    token_class = RefreshToken

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # simplejwt's fields take the spaces off a password's ends.
        self.fields["username"] = TextField(min_length=1, write_only=True)
        self.fields["password"] = TextField(min_length=1, write_only=True)


class TokenRefreshSerializer(simplejwt.TokenRefreshSerializer):
    """A refresh token for a new access token."""

    refresh = TextField(min_length=1)
    token_class = RefreshToken

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        """Like simplejwt's, and refuses the token of a user who is gone."""
        try:
            return super().validate(attrs)
        except (User.DoesNotExist, ValueError):
            raise AuthenticationFailed("The token's user is gone.") from None


class TokenVerifySerializer(simplejwt.TokenVerifySerializer):
    """Any token that is good, and not revoked."""

    token = TextField(min_length=1, write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        """Nothing.

        Raises:
            TokenError: malformed, expired or revoked.
        """
        token = UntypedToken(attrs["token"])
        if revoked_among(token_keys(token)):
            raise TokenError("Token is blacklisted")
        return {}


class TokenBlacklistSerializer(simplejwt.TokenBlacklistSerializer):
    """A refresh token, which ends with its whole family."""

    refresh = TextField(min_length=1, write_only=True)
    token_class = RefreshToken


class TokenPairSerializer(serializers.Serializer[Any]):
    """What signing in brings."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class AccessTokenSerializer(serializers.Serializer[Any]):
    """An access token alone."""

    access = serializers.CharField()


class NothingSerializer(serializers.Serializer[Any]):
    """An empty object."""

"""JSON Web Tokens in families: all that one sign-in issued can be revoked together."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError

from ovara.accounts.models import User
from ovara.accounts.selectors import revoked_among
from ovara.accounts.services import revoke
from ovara.accounts.token_backend import backend
from ovara.conf import ovara_settings
from ovara.errors import Unauthenticated
from ovara.ids import is_id

FAMILY_CLAIM = "fam"
# Where a browser session keeps its family: named at sign-in, gone with the session's other data.
SESSION_FAMILY_KEY = "token_family"
# What a row of revoked tokens can hold; no longer id can be revoked, so none is accepted.
KEY_MAX_LENGTH = 64
# Tokens whose check is remembered: whoever comes again within a token's life, by whichever door.
TOKENS_REMEMBERED = 5_000
_EXPIRED = "The token has expired: get a new one."


def new_family() -> str:
    """A name for everything that one sign-in issues."""
    return uuid.uuid4().hex


class AccessToken(simplejwt.AccessToken):
    """A short-lived token; its family is its refresh token's, or its browser session's."""

    def get_token_backend(self) -> TokenBackend:
        return backend

    @classmethod
    def for_session(cls, user: User, session: SessionBase) -> AccessToken:
        """A token for the page of a signed-in browser; signing out there revokes it."""
        token = cls.for_user(user)
        # A session from before families were named gets its name now.
        token[FAMILY_CLAIM] = session.setdefault(SESSION_FAMILY_KEY, new_family())
        return token


class RefreshToken(simplejwt.RefreshToken):
    """A long-lived token that starts a family: simplejwt copies the claim to its access tokens."""

    access_token_class = AccessToken

    def __init__(self, token: Any = None, verify: bool = True) -> None:
        super().__init__(token, verify)
        if token is None:
            self[FAMILY_CLAIM] = new_family()

    def verify(self) -> None:
        """Like simplejwt's, and refuses what was revoked.

        Raises:
            TokenError: malformed, expired, of the wrong type, or revoked.
        """
        super().verify()
        if revoked_among(token_keys(self)):
            raise TokenError("Token is blacklisted")

    def blacklist(self) -> None:  # type: ignore[override]  # returns nothing
        """Revoke this token and its whole family: the access tokens made from it too."""
        # An access token made in the last moment of this one outlives it by its own lifetime.
        expires_at = datetime.fromtimestamp(self["exp"], UTC) + access_token_lifetime()
        for key in token_keys(self):
            revoke(key, expires_at)


def access_token_lifetime() -> timedelta:
    """How long an access token is good for."""
    return timedelta(seconds=ovara_settings().access_token_lifetime_seconds)


def token_keys(token: simplejwt.Token) -> tuple[str, str]:
    """The two names by which `token` can be revoked: its own id and its family.

    A token without a family (made elsewhere with the same key) is a family of its own.

    Raises:
        TokenError: an id that is no text, or too long to be revoked.
    """
    jti = token.get("jti")
    family = token.get(FAMILY_CLAIM) or jti
    for key in (jti, family):
        if not isinstance(key, str) or not 0 < len(key) <= KEY_MAX_LENGTH:
            raise TokenError("Token has no usable id")
    return jti, family


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """An access token that is genuine and not expired; whether it was revoked is not known here."""

    user_id: str
    jti: str
    family: str
    expires_at: datetime

    @property
    def keys(self) -> tuple[str, str]:
        """The names by which it can be revoked."""
        return (self.jti, self.family)


def verify_access_token(raw: str) -> VerifiedToken:
    """Check signature, type and expiry of an access token, without the database.

    Raises:
        Unauthenticated: the token is of no use; the message says why.
    """
    token = _genuine(raw)
    if token.expires_at <= datetime.now(UTC):
        raise Unauthenticated(_EXPIRED)
    return token


@functools.lru_cache(TOKENS_REMEMBERED)
def _genuine(raw: str) -> VerifiedToken:
    """Everything but the expiry: a token that comes again has the same signature and content."""
    if not raw.isascii():
        raise Unauthenticated("The token is not valid: get a new one.")
    try:
        token = AccessToken(raw)  # type: ignore[arg-type]  # the stub is wrong
        jti, family = token_keys(token)
    except ExpiredTokenError:
        raise Unauthenticated(_EXPIRED) from None
    except TokenError:
        raise Unauthenticated("The token is not valid: get a new access token.") from None
    return VerifiedToken(
        user_id=_user_id(token.get("user_id")),
        jti=jti,
        family=family,
        expires_at=datetime.fromtimestamp(token["exp"], UTC),
    )


def _user_id(claim: object) -> str:
    if isinstance(claim, str) and is_id(claim):
        return claim
    try:
        return str(uuid.UUID(str(claim)))
    except ValueError:
        raise Unauthenticated("The token names no user: get a new one.") from None

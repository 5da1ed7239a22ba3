"""Writes about accounts and tokens."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from ovara.accounts.models import RevokedToken
from ovara.times import CLOCK_TOLERANCE, cut, now


def revoke(key: str, expires_at: datetime) -> None:
    """Refuse the token or family `key` from now on; again is harmless.

    The signal `token_revoked` follows from the row (receivers.py), whoever stores it.

    Args:
        expires_at: when the last token of that name has expired by itself, so that the row may go.
    """
    row, created = RevokedToken.objects.get_or_create(
        jti=key, defaults={"expires_at": cut(expires_at)}
    )
    if not created and row.expires_at < expires_at:
        RevokedToken.objects.filter(jti=key).update(expires_at=cut(expires_at))


def revoked_tokens_expired() -> QuerySet[RevokedToken]:
    """The rows of tokens that have expired anyway, on every node's clock."""
    # Once for the clock that is behind ours, and once for simplejwt's leeway there.
    return RevokedToken.objects.filter(expires_at__lt=now() - 2 * CLOCK_TOLERANCE)


def revoked_tokens_purge() -> int:
    """Delete the rows of tokens that have expired anyway; how many they were."""
    deleted, _ = revoked_tokens_expired().delete()
    return deleted

"""Reads about accounts and tokens."""

from __future__ import annotations

from collections.abc import Collection

from ovara.accounts.models import RevokedToken


def revoked_among(keys: Collection[str]) -> set[str]:
    """Those of `keys` (ids of tokens or families) that were revoked; one query."""
    if not keys:
        return set()
    return set(RevokedToken.objects.filter(jti__in=list(keys)).values_list("jti", flat=True))

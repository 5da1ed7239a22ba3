"""Reads about accounts and tokens."""

from __future__ import annotations

from collections.abc import Collection

from ovara.accounts.models import RevokedToken, User
from ovara.prepared import PreparedSelect


def revoked_among(keys: Collection[str]) -> set[str]:
    """Those of `keys` (ids of tokens or families) that were revoked; one query."""
    if not keys:
        return set()
    return {jti for (jti,) in _REVOKED.rows(list(keys))}


def inactive_among(user_ids: Collection[str]) -> set[str]:
    """Those of `user_ids` whose account is switched off or does not exist; one query."""
    active = User.objects.filter(pk__in=list(user_ids), is_active=True)
    return set(user_ids).difference(str(pk) for pk in active.values_list("pk", flat=True))


_REVOKED = PreparedSelect(
    lambda keys: RevokedToken.objects.filter(jti__in=keys).order_by().values_list("jti")
)

"""Reads about accounts and tokens."""

from __future__ import annotations

from collections.abc import Collection

from ovara.accounts.models import RevokedToken, User
from ovara.ids import key_of
from ovara.prepared import PreparedSelect, as_uuid


def revoked_among(keys: Collection[str]) -> set[str]:
    """Those of `keys` (ids of tokens or families) that were revoked; one query."""
    if not keys:
        return set()
    return {jti for (jti,) in _REVOKED.rows(list(keys))}


def inactive_among(user_ids: Collection[str]) -> set[str]:
    """Those of `user_ids` whose account is switched off or does not exist; one query."""
    if not user_ids:
        return set()
    rows = _ACTIVE.rows([key_of(one) for one in user_ids])
    return set(user_ids).difference(as_uuid(pk) for pk, is_active in rows if is_active)


_REVOKED = PreparedSelect(
    lambda keys: RevokedToken.objects.filter(jti__in=keys).order_by().values_list("jti")
)
# Whether it is active is for the caller: an argument of a prepared statement it can't be.
_ACTIVE = PreparedSelect(
    lambda ids: User.objects.filter(pk__in=ids).order_by().values_list("pk", "is_active")
)

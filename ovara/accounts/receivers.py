"""What follows when accounts, tokens and browser sessions change."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_save
from django.http import HttpRequest

from ovara.accounts.models import RevokedToken, User
from ovara.accounts.services import revoke
from ovara.accounts.signals import token_revoked, user_deactivated
from ovara.accounts.tokens import SESSION_FAMILY_KEY, access_token_lifetime, new_family
from ovara.times import now


def connect() -> None:
    """Listen to Django's signals; called once, when the app is ready."""
    user_logged_in.connect(_start_family)
    user_logged_out.connect(_revoke_family)
    post_save.connect(_tell_revoked, sender=RevokedToken)
    pre_save.connect(_notice_deactivation, sender=User)
    post_save.connect(_tell_deactivated, sender=User)
    post_delete.connect(_tell_deleted, sender=User)


def _start_family(sender: Any, request: HttpRequest, **_: Any) -> None:
    """Name the tokens of this browser session. Signing in again as the same user keeps the name."""
    request.session.setdefault(SESSION_FAMILY_KEY, new_family())


def _revoke_family(sender: Any, request: HttpRequest, **_: Any) -> None:
    # Django sends this before it empties the session.
    family = request.session.get(SESSION_FAMILY_KEY)
    if family is not None:
        # Twice: a request that runs beside this one may still make its token.
        revoke(family, now() + 2 * access_token_lifetime())


def _tell_revoked(sender: Any, instance: RevokedToken, using: str, **_: Any) -> None:
    key = instance.jti
    transaction.on_commit(lambda: token_revoked.send(RevokedToken, key=key), using=using)


def _notice_deactivation(sender: Any, instance: User, using: str, **_: Any) -> None:
    """Remember on the instance whether this save switches the account off."""
    instance._is_deactivated = (  # type: ignore[attr-defined]  # a note of ours
        not instance.is_active
        and not instance._state.adding
        and User.objects.using(using).filter(pk=instance.pk, is_active=True).exists()
    )


def _tell_deactivated(
    sender: Any, instance: User, using: str, update_fields: frozenset[str] | None, **_: Any
) -> None:
    is_saved = update_fields is None or "is_active" in update_fields
    if is_saved and instance._is_deactivated:  # type: ignore[attr-defined]  # a note of ours
        _tell_user(instance, using)


def _tell_deleted(sender: Any, instance: User, using: str, **_: Any) -> None:
    _tell_user(instance, using)


def _tell_user(user: User, using: str) -> None:
    user_id = str(user.pk)
    transaction.on_commit(lambda: user_deactivated.send(User, user_id=user_id), using=using)

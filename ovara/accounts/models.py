"""Accounts, and the tokens that were revoked before their end."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models

from ovara.ids import new_id


class User(AbstractUser):
    """A Django account with a UUID as its key, so that ids look alike everywhere."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"


class RevokedToken(models.Model):
    """A token, or a whole family of tokens, that is refused although it has not expired.

    A family is everything that one sign-in issued: the refresh token, each access token made from
    it, and the tokens of one browser session. simplejwt's own blacklist app needs integer keys,
    which MongoDB's backend does not have.
    """

    jti = models.CharField("token or family id", primary_key=True, max_length=64)
    revoked_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(
        db_index=True, help_text="When the row may go: the token is expired by then anyway."
    )

    class Meta:
        verbose_name = "revoked token"

    def __str__(self) -> str:
        return self.jti

"""`manage.py demo`: accounts and a conversation to try Ovara with, for development only."""

from __future__ import annotations

import os
import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from ovara.accounts.models import User
from sessions_app.models import Participant
from sessions_app.services import conversation_create

PEOPLE = ("alice", "bob")
STAFF = "staff"
TITLE = "Alice and Bob"

RESET_HINT = (
    "To choose a new password: OVARA_DEMO_PASSWORD=… make run. "
    "To start afresh, without any data: make reset"
)


class Command(BaseCommand):
    help = (
        "Makes the demo accounts alice, bob and staff (a superuser) and a conversation that alice "
        "and bob share. Accounts that are there already are kept. Refused when DEBUG is off."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "Demo accounts are for development, and DEBUG is off: set DEBUG=1, or make "
                "accounts with manage.py createsuperuser and in the admin."
            )
        given = os.environ.get("OVARA_DEMO_PASSWORD", "")
        password = given or secrets.token_urlsafe(9)
        made = [name for name in (*PEOPLE, STAFF) if account_make(name, password)]
        if given:
            for name in (*PEOPLE, STAFF):
                password_set(name, given)
        conversation_make()
        self._report(made, password, is_given=bool(given))

    def _report(self, made: list[str], password: str, *, is_given: bool) -> None:
        if made:
            self.stdout.write(f"Made the demo accounts {', '.join(made)} ({STAFF} is a superuser).")
        if is_given:
            self.stdout.write("The demo accounts' password is that of OVARA_DEMO_PASSWORD.")
        elif made:
            self.stdout.write(f"Their password, shown only this once: {password}")
        else:
            self.stdout.write(
                "The demo accounts alice, bob and staff are kept, and so is their password."
            )
            self.stdout.write(RESET_HINT)


def account_make(username: str, password: str) -> bool:
    """Make the account unless it is there; whether it was made."""
    if User.objects.filter(username=username).exists():
        return False
    manager = get_user_model().objects
    create = manager.create_superuser if username == STAFF else manager.create_user
    create(username, password=password)
    return True


def password_set(username: str, password: str) -> None:
    """Set the password where it differs: a new hash would end the account's signed-in sessions."""
    user = User.objects.get(username=username)
    if not user.check_password(password):
        user.set_password(password)
        user.save(update_fields=["password"])


def conversation_make() -> None:
    """Make a conversation of alice and bob, unless they share one."""
    alice, bob = (User.objects.get(username=name) for name in PEOPLE)
    of_alice = Participant.objects.filter(user=alice).values_list("conversation_id", flat=True)
    if not Participant.objects.filter(user=bob, conversation_id__in=list(of_alice)).exists():
        conversation_create(owner=alice, title=TITLE, usernames=[bob.username])

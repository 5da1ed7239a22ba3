"""A server's own database, which the test process may open beside the server."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from django.contrib.auth.hashers import make_password
from django.db import connections
from pytest_django import DjangoDbBlocker

from ovara.accounts.models import User
from tests.support.environment import ROOT, server_environment

Result = TypeVar("Result")

PASSWORD = "a password for tests"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of a server's database, with what a test needs to act as that user."""

    id: str
    username: str
    user: User
    password: str = PASSWORD

    def token(self, *, lifetime: timedelta | None = None) -> str:
        """A new access token, as if the user had just signed in."""
        from ovara.accounts.tokens import AccessToken

        token = AccessToken.for_user(self.user)
        if lifetime is not None:
            token.set_exp(lifetime=lifetime)
        return str(token)

    @property
    def as_json(self) -> dict[str, str]:
        """The user as every frame and REST answer shows them."""
        return {"id": self.id, "username": self.username}


class Database:
    """One SQLite file. Accounts are made in it directly, so that tests need not register."""

    _lock = threading.Lock()

    def __init__(self, path: Path, blocker: DjangoDbBlocker) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._blocker = blocker

    @classmethod
    def migrated(cls, path: Path, blocker: DjangoDbBlocker) -> Database:
        """A new database with every migration applied."""
        database = cls(path, blocker)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env=server_environment(database.url, {}),
            check=True,
        )
        return database

    def copy_to(self, path: Path) -> Database:
        """A database of its own with the same content; nobody may have this one open."""
        shutil.copyfile(self.path, path)
        return Database(path, self._blocker)

    def run(self, action: Callable[[str], Result]) -> Result:
        """Call `action(alias)` with a connection to this database, as `objects.using(alias)` wants.

        In a thread of its own: usable from coroutines, and apart from the test's own database.
        The alias is registered only meanwhile, lest pytest-django make a test database of it.
        """
        with (
            self._lock,
            self._blocker.unblock(),
            ThreadPoolExecutor(1, thread_name_prefix="test-database") as pool,
        ):
            return pool.submit(self._run, action).result()

    def _run(self, action: Callable[[str], Result]) -> Result:
        alias = f"server-{uuid.uuid4()}"
        connections.databases[alias] = {**connections.databases["default"], "NAME": str(self.path)}
        try:
            return action(alias)
        finally:
            connections[alias].close()
            del connections[alias]
            del connections.databases[alias]

    def make_user(self, username: str = "", *, is_staff: bool = False) -> Account:
        """A new account with the password `PASSWORD`; without a name, one that nobody else has."""
        username = username or f"{'staff' if is_staff else 'user'}-{uuid.uuid4().hex[:12]}"
        user = User(
            username=username,
            password=password_hash(),
            is_staff=is_staff,
            is_superuser=is_staff,
        )
        self.run(lambda alias: user.save(using=alias))
        return Account(id=str(user.pk), username=username, user=user)


@functools.cache
def password_hash() -> str:
    """`PASSWORD` under the hasher that the servers use."""
    return make_password(PASSWORD, hasher="pbkdf2_sha256")

"""A server's own database, which the test process may open beside the server."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from django.contrib.auth.hashers import make_password
from django.db import connections
from pytest_django import DjangoDbBlocker

from ovara.accounts.models import User
from tests.support.environment import ROOT, server_environment
from tests.support.stores import Store, current_store

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
    """A database of the run's store. Accounts are made in it directly: tests need not register.

    Args:
        name: what the store tells it by; on SQLite its path.
        store: another one of the same kind, which the test may stop.
    """

    _lock = threading.Lock()

    def __init__(self, name: str, blocker: DjangoDbBlocker, store: Store | None = None) -> None:
        self.store = store or current_store()
        self.name = name
        self._blocker = blocker

    @property
    def path(self) -> Path:
        """The file, for tests that run on SQLite alone (`pytest.mark.stores("sqlite")`)."""
        assert self.store.kind == "sqlite"
        return Path(self.name)

    @property
    def url(self) -> str:
        """Its `DATABASE_URL`; MongoDB has none (see `environment`)."""
        return self.environment["DATABASE_URL"]

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a process uses it."""
        return self.store.environment(self.name)

    @classmethod
    def empty(cls, path: Path, blocker: DjangoDbBlocker, store: Store | None = None) -> Database:
        """A new database without tables; on SQLite the file `path`."""
        database = cls((store or current_store()).new_name(path), blocker, store)
        database.store.create(database.name)
        return database

    @classmethod
    def migrated(cls, path: Path, blocker: DjangoDbBlocker, store: Store | None = None) -> Database:
        """A new database with every migration applied; on SQLite the file `path`."""
        database = cls.empty(path, blocker, store)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env=server_environment(database.environment, {}),
            check=True,
        )
        return database

    def copy_to(self, path: Path) -> Database:
        """A database of its own with the same content; on SQLite the file `path`.

        Nobody may have this one open.
        """
        copy = Database(self.store.new_name(path), self._blocker, self.store)
        self.store.copy(self.name, copy.name)
        return copy

    def write_lock(self) -> AbstractContextManager[None]:
        """Nobody else can write meanwhile; reading goes on."""
        return self.store.write_lock(self.name)

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
        default = connections.databases["default"]
        connections.databases[alias] = self.store.config(self.name, default)
        try:
            return action(alias)
        finally:
            connections[alias].close()
            # On MongoDB each alias has a client of its own.
            close_pool = getattr(connections[alias], "close_pool", None)
            if close_pool is not None:
                close_pool()
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

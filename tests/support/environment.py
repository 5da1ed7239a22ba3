"""The environment of the processes that tests start: nothing of the developer's own settings."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# How long a test waits for what must come: machines are shared, and some seconds may pass.
PATIENCE_SECONDS = 15.0
# Shared by the test process and its servers, so that tests can make tokens without signing in.
SECRET_KEY = "a key for tests alone, long enough to sign with"

# MAKEFLAGS: what `make test WORKERS=…` was told is not for a `make` that a test starts.
_NAMES = frozenset(
    {
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
        "DATABASE_URL",
        "DEBUG",
        "DJANGO_SETTINGS_MODULE",
        "HOST",
        "LOG_LEVEL",
        "MAKEFLAGS",
        "MONGODB_DB_NAME",
        "MONGODB_URI",
        "PORT",
        "REDIS_URL",
        "SECRET_KEY",
        "SECURE_COOKIES",
        "WEB_CONCURRENCY",
    }
)


def is_ours(name: str) -> bool:
    """Whether `name` is an environment variable that changes what Ovara does."""
    return name in _NAMES or (name.startswith("OVARA_") and not name.startswith("OVARA_TEST_"))


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without any variable of Ovara's, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not is_ours(name)}
    return kept | {"PYTHONUNBUFFERED": "1"} | extra


def server_environment(
    database: str | Mapping[str, str], extra: Mapping[str, str]
) -> dict[str, str]:
    """What a server process of the tests sees; `extra` overrides anything here.

    Args:
        database: a `DATABASE_URL`, or the variables that name another kind.
    """
    return clean_environment(
        DJANGO_SETTINGS_MODULE="ovara.settings",
        SECRET_KEY=SECRET_KEY,
        # Static files are found without `collectstatic`.
        DEBUG="1",
        **({"DATABASE_URL": database} if isinstance(database, str) else database),
    ) | dict(extra)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

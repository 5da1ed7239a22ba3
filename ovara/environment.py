"""How the settings that need more than a default are read from the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

env = environ.Env()

# Messages the in-memory layer keeps for the node's one channel before it drops in silence
# (its default, 100, is made for one channel a connection).
IN_MEMORY_CAPACITY = 100_000

_ASGI_SERVERS = {"uvicorn", "gunicorn", "hypercorn", "granian"}
# The same by `python -m`.
_ASGI_SERVER_MODULES = tuple(
    f"{name}/__main__.py" for name in (*sorted(_ASGI_SERVERS), "ovara/server")
)


def secret_key(data_dir: Path, *, debug: bool) -> str:
    """`SECRET_KEY`, or in development one that is made once and kept in `var/secret_key`.

    Raises:
        ImproperlyConfigured: not set, and `DEBUG` is off.
    """
    given = env.str("SECRET_KEY", default="")
    if given:
        return str(given)
    if not debug:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Set it to a long random text (it signs sessions and tokens), "
            "or set DEBUG=1 for development."
        )
    path = data_dir / "secret_key"
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        # Exclusive creation: of several processes that start at once, one makes the key.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(get_random_secret_key())
    return path.read_text().strip()


def channel_layer_config(redis_urls: list[str]) -> dict[str, Any]:
    """In-memory for one process; Redis pub/sub for many, sharded where several are given."""
    if not redis_urls:
        return {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            "CONFIG": {"capacity": IN_MEMORY_CAPACITY},
        }
    _check_redis(redis_urls)
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": redis_urls, "prefix": "ovara"},
    }


def cache_config(redis_urls: list[str]) -> dict[str, Any]:
    """The cache holds login counters alone, so that they hold for every process."""
    if not redis_urls:
        return {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            # By default 300, which somebody with many addresses could push out.
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    # One of the shards: Django would take the others for its replicas.
    return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_urls[0]}


def _check_redis(urls: list[str]) -> None:
    for url in urls:
        if urlsplit(url).scheme not in {"redis", "rediss", "unix"}:
            raise ImproperlyConfigured(
                "REDIS_URL must be one or several addresses such as redis://host:6379/0, "
                "separated by commas."
            )


def refuse_workers_without_redis(redis_urls: list[str]) -> None:
    """Refuse to start several worker processes that could not reach each other.

    uvicorn's and gunicorn's worker count is on their command line or in `WEB_CONCURRENCY`.

    Raises:
        ImproperlyConfigured: more than one worker is asked for and `REDIS_URL` is empty.
    """
    if redis_urls or _worker_count() <= 1:
        return
    raise ImproperlyConfigured(
        f"{_worker_count()} workers without REDIS_URL could not reach each other's connections: "
        "set REDIS_URL, or start one worker."
    )


def _worker_count() -> int:
    """How many processes this server has. Spawned workers have their parent's arguments."""
    program, *words = sys.argv or [""]
    if Path(program).name not in _ASGI_SERVERS and not program.endswith(_ASGI_SERVER_MODULES):
        return 1
    for position, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in {"--workers", "-w"}:
            text = value or "".join(words[position + 1 : position + 2])
            return int(text) if text.isdigit() else 1
    return int(env.int("WEB_CONCURRENCY", default=1))

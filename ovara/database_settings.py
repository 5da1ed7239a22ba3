"""Which database, as the environment says: SQLite by default, PostgreSQL, or MongoDB.

What is wrong with a variable is said at once and by its name. Neither the address nor a part of it
is ever repeated: it may hold a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from ovara.environment import env
from ovara.sqlite_file import BUSY_TIMEOUT_SECONDS, ExistingFile

# SQLite's write-ahead log grows to so many pages, of 4 KiB each, before it is copied back.
CHECKPOINT_PAGES = 10_000
# How long to wait for a server, and for a connection to it, before the caller hears of it.
REACH_SECONDS = 5
# How long a caller waits for a connection of the pool: less than its own callers have patience.
POOL_SECONDS = 2
# Connections of one process to PostgreSQL: the writers, the readers, and what views need.
POOL_SIZE = 20
_POOL = {
    "name": "ovara",
    "min_size": 1,
    "max_size": POOL_SIZE,
    "timeout": POOL_SECONDS,
    # An attempt to connect ends with the caller who waits for it, and the next caller has another.
    # By default (300) the pool itself goes on, with pauses that double: after an outage of two
    # minutes nobody would be served for two more.
    "reconnect_timeout": POOL_SECONDS,
}

_SCHEMES = {"sqlite", "postgres", "postgresql"}
# What MongoDB allows in a database's name on every system, and how long it may be.
_MONGODB_NAME = re.compile(r'[^/\\. "$*<>:|?\0]{1,63}')
# Options of its address with which the promises of ours would be none.
_UNFIT_OPTIONS: list[tuple[Callable[[dict[str, Any]], bool], str]] = [
    (
        lambda options: options.get("w") == 0,
        "w=0, by which nobody would hear whether something was stored: leave it out.",
    ),
    (
        lambda options: str(options.get("readpreference", "primary")).lower() != "primary",
        "readPreference, and reads must see what was written just now: leave it out.",
    ),
]


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """What `settings.py` takes over."""

    config: dict[str, Any]
    # The variable that an operator would change, for messages.
    variable: str
    auto_field: str = "django.db.models.BigAutoField"
    migration_modules: dict[str, str] = field(default_factory=dict)
    contrib_apps: tuple[str, ...] = (
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
    )


def database_settings(data_dir: Path) -> DatabaseSettings:
    """The database that `MONGODB_URI` or `DATABASE_URL` names; SQLite in `data_dir` without them.

    Raises:
        ImproperlyConfigured: two at once, or something that is no address of a database.
    """
    uri, url = env.str("MONGODB_URI", default=""), env.str("DATABASE_URL", default="")
    if uri and url:
        raise ImproperlyConfigured(
            "MONGODB_URI and DATABASE_URL are both set: unset one, there is one database."
        )
    if uri:
        return _mongodb(uri, env.str("MONGODB_DB_NAME", default=""))
    if env.str("MONGODB_DB_NAME", default=""):
        raise ImproperlyConfigured(
            "MONGODB_DB_NAME is set and MONGODB_URI is not: write "
            "MONGODB_URI=mongodb://user:password@host:27017/, or unset both."
        )
    if not url:
        data_dir.mkdir(parents=True, exist_ok=True)
        return _sqlite({"ENGINE": "django.db.backends.sqlite3", "NAME": data_dir / "db.sqlite3"})
    return _sql(url)


def _sql(url: str) -> DatabaseSettings:
    try:
        scheme, _, path, *_ = urlsplit(url)
        if scheme != "sqlite" and "@" in path:
            raise ValueError("A / in the password, which then goes on in the database's name.")
        config: dict[str, Any] = dict(env.db_url_config(url)) if scheme in _SCHEMES else {}
    except ValueError:
        # Its own message may quote a part of the password; `from None` keeps it out of sight.
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read: write postgres://user:password@host:5432/name, with "
            "characters such as / @ # [ in the password percent-encoded."
        ) from None
    if scheme not in _SCHEMES:
        raise ImproperlyConfigured(
            f"DATABASE_URL has the scheme {scheme!r}: write sqlite:////folder/file.sqlite3 or "
            "postgres://user:password@host:5432/name (MongoDB has MONGODB_URI)."
        )
    if not config.get("NAME"):
        raise ImproperlyConfigured("DATABASE_URL names no database: end it with /name.")
    return _sqlite(config) if scheme == "sqlite" else _postgresql(config)


def _sqlite(config: dict[str, Any]) -> DatabaseSettings:
    if config["NAME"] == ":memory:":
        # Each of our threads would have a database of its own.
        raise ImproperlyConfigured(
            "DATABASE_URL names a database in memory: write sqlite:////folder/file.sqlite3."
        )
    folder = Path(str(config["NAME"])).parent
    if not folder.is_dir():
        raise ImproperlyConfigured(
            f"DATABASE_URL names a file in {str(folder)!r}, which is not a folder: make it first."
        )
    config["OPTIONS"] = {
        # Immediate: a transaction that will write waits for its turn at the start, instead of
        # failing half-way with "database is locked".
        "transaction_mode": "IMMEDIATE",
        "timeout": BUSY_TIMEOUT_SECONDS,
        "factory": ExistingFile,
        # FULL: an acknowledged message survives a power cut (docs/adr/0003-sqlite-synchronous.md).
        # busy_timeout: once it is open, `ExistingFile` waits instead of SQLite.
        # wal_autocheckpoint: docs/adr/0043-seldom-checkpoints.md.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=0;"
        f" PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};",
    }
    # A file, not shared memory: the journal writes from its own thread.
    config["TEST"] = {"NAME": folder / f"test-{os.getpid()}-{Path(str(config['NAME'])).name}"}
    return DatabaseSettings(config, "DATABASE_URL")


def _postgresql(config: dict[str, Any]) -> DatabaseSettings:
    # `postgres://%2Fvar%2Frun%2Fpostgresql/name`: a socket's folder.
    config["HOST"] = unquote(config["HOST"])
    options: dict[str, Any] = config.setdefault("OPTIONS", {})
    options.setdefault("connect_timeout", REACH_SECONDS)
    options.setdefault("pool", dict(_POOL))
    # It checks each connection that leaves the pool.
    config["ENGINE"] = "ovara.postgresql"
    # The pool keeps connections, not the threads.
    config["CONN_MAX_AGE"] = 0
    return DatabaseSettings(config, "DATABASE_URL")


def _mongodb(uri: str, name: str) -> DatabaseSettings:
    in_uri = _check_mongodb_uri(uri)
    name = name or in_uri["database"] or ""
    if not name:
        raise ImproperlyConfigured(
            "MONGODB_DB_NAME is not set: name the database that MONGODB_URI's server shall use."
        )
    if not _MONGODB_NAME.fullmatch(name):
        raise ImproperlyConfigured(
            f"MONGODB_DB_NAME is {name!r}: 1 to 63 characters, none of them a space or any of "
            '/ \\ . " $ * < > : | ?'
        )
    options: dict[str, Any] = {
        # Acknowledged means on disk, and not to be rolled back by an election. The server's own
        # default leaves a tenth of a second of memory.
        "w": "majority",
        "journal": True,
        "serverselectiontimeoutms": REACH_SECONDS * 1000,
        "connecttimeoutms": REACH_SECONDS * 1000,
        "appname": "ovara",
    }
    return DatabaseSettings(
        {
            "ENGINE": "ovara.mongo.engine",
            "HOST": uri,
            "NAME": name,
            # What the address itself says is not overruled.
            "OPTIONS": {
                key: value for key, value in options.items() if key not in in_uri["options"]
            },
        },
        "MONGODB_URI",
        auto_field="django_mongodb_backend.fields.ObjectIdAutoField",
        migration_modules={
            app: f"ovara.mongo.migrations.{app}" for app in ("admin", "auth", "contenttypes")
        },
        contrib_apps=(
            "ovara.mongo.apps.MongoAdminConfig",
            "ovara.mongo.apps.MongoAuthConfig",
            "ovara.mongo.apps.MongoContentTypesConfig",
        ),
    )


def _check_mongodb_uri(uri: str) -> dict[str, Any]:
    """What is in the address: `database`, and `options` by their names in lower case.

    Raises:
        ImproperlyConfigured: it is no address of a MongoDB.
    """
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    # The servers of mongodb+srv:// are looked up in the DNS by parsing: not now.
    readable = uri.replace("mongodb+srv://", "mongodb://", 1)
    try:
        parsed = parse_uri(readable)
    except (PyMongoError, ValueError):
        # Its own message may quote a part of the password; `from None` keeps it out of sight.
        raise ImproperlyConfigured(
            "MONGODB_URI cannot be read: write mongodb://user:password@host:27017/, with "
            "characters such as / @ : % in the password percent-encoded."
        ) from None
    except OSError:
        raise ImproperlyConfigured(
            "MONGODB_URI names a file that cannot be read: see its tlsCAFile and the like."
        ) from None
    options = {key.lower(): value for key, value in parsed["options"].items()}
    for unfit, why in _UNFIT_OPTIONS:
        if unfit(options):
            raise ImproperlyConfigured(f"MONGODB_URI says {why}")
    return {"database": parsed["database"], "options": options}

"""The kinds of database that the tests run on: `TEST_STORE=postgresql make test`.

SQLite by default. For the others the run starts a server of its own, in a temporary folder, and
ends it; the worker processes of `pytest -n` share it, each with databases of its own.
`TEST_STORE=mongodb` uses SecantusDB, or the real server at `OVARA_TEST_MONGODB_URI`;
`mongodb-standalone` a SecantusDB without transactions, as a MongoDB without a replica set is.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from pymongo import IndexModel, MongoClient
from pymongo.errors import PyMongoError

from tests.support.environment import ROOT, clean_environment, free_port
from tests.support.process import ChildProcess

# The account that Debian's package makes: PostgreSQL refuses to run as root.
POSTGRES_ACCOUNT = "postgres"
START_SECONDS = 60
# Who has to know a password. Whatever others bring is taken, since checking it takes long.
STRANGER = "stranger"
# Tells the run's other processes on which port its server listens.
PORT_VARIABLE = "TEST_STORE_PORT"


class Store:
    """SQLite, and what the others have in common with it. A database's name is what tells it."""

    kind = "sqlite"
    # Where the server listens, if there is one of the run's own.
    port: int | None = None

    def start(self) -> None:
        """Start the server, if there is one."""

    def stop(self) -> None:
        """End it."""

    def new_name(self, path: Path) -> str:
        """A name for a database that is not there yet: `path` itself where it is a file."""
        return str(path)

    def environment(self, name: str) -> dict[str, str]:
        """The variables by which a process of ours uses the database."""
        return {"DATABASE_URL": f"sqlite:///{name}"}

    def config(self, name: str, default: Mapping[str, Any]) -> dict[str, Any]:
        """The same as an entry of `DATABASES`, made from the entry of another database of ours."""
        return {**default, "NAME": name}

    def create(self, name: str) -> None:
        """Make an empty database."""

    def copy(self, source: str, target: str) -> None:
        """Copy a database that nobody has open."""
        shutil.copyfile(source, target)

    @contextlib.contextmanager
    def write_lock(self, name: str) -> Iterator[None]:
        """Nobody else can write to the database meanwhile; reading goes on."""
        with contextlib.closing(sqlite3.connect(name, isolation_level=None, timeout=10)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                lock.execute("ROLLBACK")


class PostgreSQL(Store):
    """A cluster of this run's own. What it stores outlives the servers that tests kill, and need
    not outlive the machine: nothing waits for the disk.

    Args:
        settings: of PostgreSQL's, beside or instead of those here.
    """

    kind = "postgresql"

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ovara-postgresql-"))
        self.port: int = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "600",
            "log_statement": "none",
        } | settings
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self.process = ChildProcess(
            [*_as_postgres(), _postgresql_program("postgres"), "-D", str(self.data), *options],
            env=clean_environment(),
            cwd=self.folder,
            log_path=self.folder.with_suffix(".log"),
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        if not self.data.exists():
            self._initialise()
        mark = self.process.log_mark()
        self.process.launch()
        self.process.wait_for_line("ready to accept connections", since=mark, timeout=START_SECONDS)

    def stop(self) -> None:
        if self.process.is_running:
            # Its children are in process groups of their own; this ends them all.
            self.process.signal(signal.SIGINT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.process.log_path.unlink(missing_ok=True)

    def new_name(self, path: Path) -> str:
        return f"ovara_{uuid.uuid4().hex[:12]}"

    def environment(self, name: str) -> dict[str, str]:
        return {"DATABASE_URL": f"postgres://ovara:secret@127.0.0.1:{self.port}/{name}"}

    def config(self, name: str, default: Mapping[str, Any]) -> dict[str, Any]:
        # No pool of its own: it is used once.
        options = {key: value for key, value in default["OPTIONS"].items() if key != "pool"}
        return {**default, "NAME": name, "PORT": str(self.port), "OPTIONS": options}

    def create(self, name: str) -> None:
        self.execute(f"CREATE DATABASE {name}")

    def copy(self, source: str, target: str) -> None:
        self.execute(f"CREATE DATABASE {target} TEMPLATE {source}")

    @contextlib.contextmanager
    def write_lock(self, name: str) -> Iterator[None]:
        with psycopg.connect(self.environment(name)["DATABASE_URL"]) as lock:
            found = lock.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = ", ".join(f'"{table}"' for (table,) in found)
            lock.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
            try:
                yield
            finally:
                lock.rollback()

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the cluster's owner; the rows, if it finds any."""
        address = self.environment("postgres")["DATABASE_URL"]
        with psycopg.connect(address, autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def _initialise(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, POSTGRES_ACCOUNT)
        arguments = ["-D", str(self.data), "-U", "ovara", "--auth=trust", "-E", "UTF8"]
        process = ChildProcess(
            [*_as_postgres(), _postgresql_program("initdb"), *arguments, "--no-sync"],
            env=clean_environment(LC_ALL="C.UTF-8"),
            cwd=self.folder,
            log_path=self.process.log_path,
        )
        process.launch()
        assert process.wait(timeout=START_SECONDS) == 0, process.logs()
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"host all {STRANGER} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")


class SharedPostgreSQL(PostgreSQL):
    """The cluster that another process of the run has started, and ends."""

    def __init__(self, port: int) -> None:
        self.port = port

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        """Others use it."""


class MongoDB(Store):
    """A real server of somebody's: databases of ours in it, dropped at the end of the run."""

    kind = "mongodb"

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._names: set[str] = set()

    def start(self) -> None:
        # The address itself is not repeated: it may hold a password.
        try:
            self.client.admin.command("ping")
        except PyMongoError as error:
            raise RuntimeError("No MongoDB answers at OVARA_TEST_MONGODB_URI.") from error

    def stop(self) -> None:
        for name in self._names:
            self.client.drop_database(name)
            # Django's own, made from it.
            self.client.drop_database(f"test_{name}")
        self.client.close()

    @functools.cached_property
    def client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.uri, serverselectiontimeoutms=START_SECONDS * 1000)

    def new_name(self, path: Path) -> str:
        name = f"ovara_test_{uuid.uuid4().hex[:12]}"
        self._names.add(name)
        return name

    def environment(self, name: str) -> dict[str, str]:
        return {"MONGODB_URI": self.uri, "MONGODB_DB_NAME": name}

    def config(self, name: str, default: Mapping[str, Any]) -> dict[str, Any]:
        return {**default, "HOST": self.uri, "NAME": name}

    # What is locked: mongod has a lock for all its databases only.
    lockable = "admin"

    @contextlib.contextmanager
    def write_lock(self, name: str) -> Iterator[None]:
        locked = self.client[self.lockable or name]
        locked.command("fsync", lock=True)
        try:
            yield
        finally:
            locked.command("fsyncUnlock")

    def copy(self, source: str, target: str) -> None:
        database = self.client[source]
        for name in database.list_collection_names():
            rows = list(database[name].find())
            copied = self.client[target].create_collection(name)
            if indexes := _indexes(database[name].index_information()):
                copied.create_indexes(indexes)
            if rows:
                copied.insert_many(rows)


class SharedSecantusDB(MongoDB):
    """The server that another process of the run has started, and ends; see `secantus.py`."""

    lockable = ""

    def __init__(self, port: int) -> None:
        super().__init__(f"mongodb://127.0.0.1:{port}/")


class SecantusDB(SharedSecantusDB):
    """A server of this run's own that speaks MongoDB's protocol."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ovara-secantus-"))
        self.port: int = free_port()
        super().__init__(self.port)
        where = [
            "--port",
            str(self.port),
            "--storage-path",
            str(self.folder / "data"),
            "--log-level",
            "WARNING",
        ]
        self.process = ChildProcess(
            [sys.executable, "-m", "tests.support.secantus", *where, *options],
            env=clean_environment(),
            cwd=ROOT,
            log_path=self.folder.with_suffix(".log"),
        )

    def start(self) -> None:
        self.launch()
        self.client.admin.command("ping")

    def launch(self) -> None:
        """Start it; its clients wait for it."""
        self.process.launch()

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.process.log_path.unlink(missing_ok=True)


def _indexes(found: Mapping[str, Any]) -> list[IndexModel]:
    return [
        IndexModel(
            details["key"],
            name=name,
            **{
                key: details[key] for key in ("unique", "partialFilterExpression") if key in details
            },
        )
        for name, details in found.items()
        if name != "_id_"
    ]


def _as_postgres() -> list[str]:
    if os.geteuid() != 0:
        return []
    return [
        "setpriv",
        f"--reuid={POSTGRES_ACCOUNT}",
        f"--regid={POSTGRES_ACCOUNT}",
        "--clear-groups",
    ]


def _postgresql_program(name: str) -> str:
    """Where `name` is: Debian keeps a folder for each version, and none of them on the path."""
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *folders]))
    if not found:
        raise RuntimeError(f"{name} is not installed: make test-deps")
    return found


def make_store(kind: str) -> Store:
    """A store of that kind, not started yet."""
    if kind == "mongodb":
        uri = os.environ.get("OVARA_TEST_MONGODB_URI")
        return MongoDB(uri) if uri else SecantusDB()
    if kind == "mongodb-standalone":
        return SecantusDB("--standalone")
    if kind == "postgresql":
        return PostgreSQL()
    if kind != "sqlite":
        raise RuntimeError(
            f"TEST_STORE is {kind!r}: write sqlite, postgresql, mongodb or mongodb-standalone."
        )
    return Store()


def _shared_store(kind: str, port: int) -> Store:
    """The store that the process which started this one has started."""
    if kind == "postgresql":
        return SharedPostgreSQL(port)
    return SharedSecantusDB(port)


def kind_of_the_run() -> str:
    """What TEST_STORE says."""
    return os.environ.get("TEST_STORE") or "sqlite"


@functools.cache
def current_store() -> Store:
    """The store of this run, started; ended with the process that started it."""
    kind = kind_of_the_run()
    if port := os.environ.get(PORT_VARIABLE):
        store = _shared_store(kind, int(port))
    else:
        store = make_store(kind)
    store.kind = kind
    atexit.register(store.stop)
    store.start()
    if store.port is not None:
        os.environ[PORT_VARIABLE] = str(store.port)
    return store

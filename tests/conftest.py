"""Fixtures that every area uses. What they hand out is in `tests/support/`.

    async def test_a_message_reaches_the_other(server, make_user, make_conversation, connect):
        alice, bob = make_user(server), make_user(server)
        conversation_id = await make_conversation(server, alice, bob)
        sender, receiver = await connect(server, alice), await connect(server, bob)
        await receiver.join(conversation_id)
        await sender.message(conversation_id, "hello")
        await receiver.expect("message", conversation_id=conversation_id)

`server` is shared by the whole run, with no limits that tests would meet by accident: take accounts
of your own from `make_user`, never stop it. `server_with(OVARA_…="…")` starts one of your own.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import TransactionTestCase
from playwright.async_api import Browser, Page
from pytest_django import DjangoDbBlocker

from tests.support import browser as chromium
from tests.support.client import WireClient
from tests.support.database import Account, Database
from tests.support.redis_server import RedisServer
from tests.support.rest import rest_client
from tests.support.server import DEFAULT_KIND, KINDS, ServerKind, ServerProcess
from tests.support.stores import current_store

# Within it a reload has to come back, also on a machine that is ten times slower than usual.
GRACE_SECONDS = 1.0
# Tests make many connections and sign-ins from one address.
SHARED_SERVER_SETTINGS = {
    "OVARA_HANDSHAKES_PER_SECOND": "10000",
    "OVARA_HANDSHAKE_BURST": "10000",
    "OVARA_LOGINS_PER_MINUTE": "10000",
    "OVARA_PRESENCE_GRACE_SECONDS": str(GRACE_SECONDS),
}

ServerWith = Callable[..., ServerProcess]
Connect = Callable[..., Awaitable[WireClient]]


def pytest_configure() -> None:
    # A shell ignores it in what it starts with `&`, and the servers that tests start inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI a skipped test is a failed run: pytest_sessionfinish sets the code, this says why."""
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.section("skipped in CI, where nothing may be", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = reporter.stats.get("skipped")
    if skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if skipped or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        # `--last-failed` would find some of it, pass, and hide the rest: see .ci/run.
        session.config.cache.set("cache/lastfailed", {})


# Tests for each kind of server have these among their parameters.
OTHER_SERVERS = {*KINDS, *(f"{kind}_server" for kind in KINDS)} - {DEFAULT_KIND}

# With several workers these begin: they take long, and nobody should wait for one of them alone.
LONG_ONES = ("tests/make", "tests/torture", "tests/schema", "tests/cluster", "tests/e2e")


def _place(item: pytest.Item) -> int:
    """Where an item's file is in the order of a run with several workers."""
    places = (number for number, part in enumerate(LONG_ONES) if part in item.nodeid)
    return next(places, len(LONG_ONES))


def _is_of_another_server(item: pytest.Item) -> bool:
    """Whether it is the same test once more, on a server that is not the run's. A store knows
    nothing of servers: the run on SQLite is enough for them all."""
    spec = getattr(item, "callspec", None)
    return spec is not None and not OTHER_SERVERS.isdisjoint(map(str, spec.params.values()))


def _is_of(item: pytest.Item, kind: str) -> bool:
    """Whether a run on that kind of store has to do with the test."""
    if kind != "sqlite" and (item.get_closest_marker("storeless") or _is_of_another_server(item)):
        return False
    return all(kind in mark.args for mark in item.iter_markers("stores"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what can't be done to the run's store; in CI a skipped test would be a failure."""
    if hasattr(config, "workerinput"):
        items.sort(key=_place)
    kind = current_store().kind
    left_out = [item for item in items if not _is_of(item, kind)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def quick_flush() -> Iterator[None]:
    """See `tests/support/flush.py`."""
    # Only now: it needs the apps to be loaded.
    from tests.support.flush import delete_rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", delete_rows)
        yield


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """A server of the run's own goes with all its databases; threads still have some open."""
    return current_store().kind != "sqlite"


@pytest.fixture(scope="session")
def database_template(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Database:
    """A migrated database that servers get copies of; nobody opens it."""
    path = tmp_path_factory.mktemp("template") / "db.sqlite3"
    return Database.migrated(path, django_db_blocker)


@pytest.fixture(scope="session")
def start_server(
    database_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerWith]:
    """What makes servers for the fixtures below; all are killed at the end of the run."""
    servers: list[ServerProcess] = []

    def start(
        *, kind: ServerKind = DEFAULT_KIND, database: Database | None = None, **environment: str
    ) -> ServerProcess:
        folder = tmp_path_factory.mktemp("server")
        server = ServerProcess(
            database or database_template.copy_to(folder / "db.sqlite3"),
            folder=folder,
            kind=kind,
            environment=environment,
        )
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def server(start_server: ServerWith) -> ServerProcess:
    """The shared server: Daphne, or TEST_SERVER."""
    return start_server(**SHARED_SERVER_SETTINGS)


@pytest.fixture(scope="session")
def uvicorn_server(start_server: ServerWith) -> ServerProcess:
    """The same on uvicorn."""
    return start_server(kind="uvicorn", **SHARED_SERVER_SETTINGS)


@pytest.fixture(scope="session")
def ovara_server(start_server: ServerWith) -> ServerProcess:
    """The same on the recommended server."""
    return start_server(kind="ovara", **SHARED_SERVER_SETTINGS)


@pytest.fixture(params=["server", "uvicorn_server", "ovara_server"])
def any_server(request: pytest.FixtureRequest) -> ServerProcess:
    """The test runs once on each kind of server."""
    found: ServerProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def server_with(start_server: ServerWith) -> Iterator[ServerWith]:
    """`server_with(kind="uvicorn", database=other.database, OVARA_MAX_…="1")`: one for this test.

    The settings are the project's defaults but for those given. The server may be killed,
    terminated and restarted at will.
    """
    servers: list[ServerProcess] = []

    def start(**options: Any) -> ServerProcess:
        servers.append(start_server(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def shared_server_with(start_server: ServerWith) -> Iterator[ServerWith]:
    """As `server_with`, but the same settings get the same server in all of a file: do not stop it.
    Behind the file it ends: what beats and cleans up all the time takes time from every other."""
    servers: dict[frozenset[tuple[str, str]], ServerProcess] = {}

    def find_or_start(**environment: str) -> ServerProcess:
        key = frozenset(environment.items())
        if key not in servers:
            servers[key] = start_server(**SHARED_SERVER_SETTINGS | environment)
        return servers[key]

    yield find_or_start
    for server in servers.values():
        server.kill()


@pytest.fixture
def make_user() -> Callable[..., Account]:
    """`make_user(server, is_staff=False)`: a new account of that server, with `.token()`."""

    def make(server: ServerProcess, username: str = "", *, is_staff: bool = False) -> Account:
        return server.make_user(username, is_staff=is_staff)

    return make


@pytest.fixture
def make_conversation() -> Callable[..., Awaitable[str]]:
    """`await make_conversation(server, owner, *members, title="")`: its id, made by REST."""

    async def make(
        server: ServerProcess, owner: Account, *members: Account, title: str = "Talk"
    ) -> str:
        names = [member.username for member in members]
        async with rest_client(server, owner) as rest:
            answer = await rest.post(
                "/api/conversations", json={"title": title, "participants": names}
            )
        assert answer.status_code == 201, answer.text
        conversation_id: str = answer.json()["id"]
        return conversation_id

    return make


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(server, account, …)`: see `WireClient.connect`; closed after the test."""
    clients: list[WireClient] = []

    async def connect_one(
        server: ServerProcess, account: Account | None = None, **options: Any
    ) -> WireClient:
        clients.append(await WireClient.connect(server, account, **options))
        return clients[-1]

    yield connect_one
    for client in clients:
        await client.close()


@pytest.fixture
async def rest() -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """`rest(server, account)`: an httpx client with the account's bearer token; or with none."""
    clients: list[httpx.AsyncClient] = []

    def make(server: ServerProcess, account: Account | None = None) -> httpx.AsyncClient:
        clients.append(rest_client(server, account))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


def program(name: str) -> str:
    """Where `name` is installed; skips the test, saying how to install it."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed: make test-deps")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server for this test, with `.url`; it may be killed and started again."""
    redis = RedisServer(program("redis-server"), folder=tmp_path)
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium.launched(program("chromium")) as browser:
        yield browser


@pytest.fixture
async def new_page(browser: Browser) -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """`await new_page(server, account)`: see `BrowserPages.open`. Errors in pages fail the test."""
    pages = chromium.BrowserPages(browser)
    yield pages.open
    await pages.close()
    assert pages.errors == []

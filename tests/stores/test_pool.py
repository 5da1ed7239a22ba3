"""PostgreSQL's connections come from a pool: shared, bounded, and soon over an outage."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from ovara.accounts.models import User
from ovara.database import READER_THREADS, in_thread
from ovara.database_settings import POOL_SECONDS, POOL_SIZE
from tests.conftest import Connect, ServerWith
from tests.connecting.conftest import until
from tests.support.client import WireClient
from tests.support.database import Database
from tests.support.rest import rest_client
from tests.support.server import ServerProcess
from tests.support.stores import PostgreSQL

pytestmark = pytest.mark.stores("postgresql")

READS = 100
# Long enough for pauses that double to have become longer than SOON_SECONDS.
AWAY_SECONDS = 8
SOON_SECONDS = 2 * POOL_SECONDS
PASSWORD = "secret"  # in the addresses of `PostgreSQL`

MakeConversation = Callable[..., Awaitable[str]]


@pytest.mark.django_db(transaction=True)
async def test_reads_borrow_a_connection_and_give_it_back() -> None:
    pool: Any = connection.pool
    before = pool.get_stats()
    counts = await asyncio.gather(*(in_thread(User.objects.count) for _ in range(READS)))
    after = pool.get_stats()
    assert counts == [0] * READS
    assert after["requests_num"] - before.get("requests_num", 0) == READS
    assert after["connections_num"] - before.get("connections_num", 0) <= READER_THREADS


def used(database: Database) -> int:
    """The connections that somebody has to the database."""
    assert isinstance(database.store, PostgreSQL)
    [(count,)] = database.store.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}'"
    )
    return int(count)


async def create(rest: httpx.AsyncClient) -> int:
    return (await rest.post("/api/conversations", json={"title": "Talk"})).status_code


async def test_a_process_takes_no_more_connections_than_its_pool_may_hold(
    server_with: ServerWith,
) -> None:
    node = server_with()
    async with rest_client(node, node.make_user()) as rest:
        with node.database.write_lock():
            requests = [asyncio.create_task(create(rest)) for _ in range(2 * POOL_SIZE)]
            # Those that find none in time, while the others wait for the lock.
            await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
            # One is the lock's own.
            assert used(node.database) == POOL_SIZE + 1
        answers = await asyncio.gather(*requests)
        assert set(answers) == {201, 503}
        assert await create(rest) == 201
    assert used(node.database) <= POOL_SIZE


@pytest.fixture
def own_store() -> Iterator[PostgreSQL]:
    """A server that the test may kill: what it has committed outlives that."""
    store = PostgreSQL(synchronous_commit="on")
    store.start()
    yield store
    store.stop()


@pytest.fixture
def own_database(
    own_store: PostgreSQL, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Database:
    return Database.migrated(tmp_path, django_db_blocker, own_store)


def crash(store: PostgreSQL) -> None:
    store.process.signal(signal.SIGQUIT)
    store.process.wait()


async def fill_pool(node: ServerProcess, rest: httpx.AsyncClient) -> None:
    """Have it hold as many connections as it may."""
    with node.database.write_lock():
        requests = [asyncio.create_task(create(rest)) for _ in range(POOL_SIZE)]
        await until(lambda: used(node.database) >= POOL_SIZE)
    await asyncio.gather(*requests)
    assert used(node.database) >= POOL_SIZE - 1


async def test_a_server_that_restarted_is_used_at_once_and_one_that_was_away_soon(
    own_store: PostgreSQL,
    own_database: Database,
    server_with: ServerWith,
    make_conversation: MakeConversation,
    connect: Connect,
) -> None:
    node = server_with(database=own_database)
    alice = node.make_user()
    talk = await make_conversation(node, alice)
    client = await connect(node, alice)
    await client.join(talk)
    async with rest_client(node, alice) as rest:
        await fill_pool(node, rest)
        crash(own_store)
        own_store.start()
        # The others in the pool are as dead as the first.
        for _ in range(POOL_SIZE):
            assert (await rest.get("/api/conversations")).status_code == 200
        await client.message(talk, "after a restart")

        crash(own_store)
        away_at = time.monotonic()
        while time.monotonic() < away_at + AWAY_SECONDS:
            assert (await rest.get("/api/conversations")).status_code == 503
            assert (await client.request(message_to(talk)))["code"] == "overloaded"
        own_store.start()
        back_at = time.monotonic()
        await until_served(client, talk)
        assert (await rest.get("/api/conversations")).status_code == 200
        assert time.monotonic() < back_at + SOON_SECONDS
    assert PASSWORD not in node.logs()


def message_to(conversation_id: str) -> dict[str, Any]:
    fields = {"content": "again", "client_message_id": "again"}
    return {"type": "message", "conversation_id": conversation_id} | fields


async def until_served(client: WireClient, talk: str) -> None:
    """Send again what is refused; it is stored once, as the one after it shows."""
    while (answer := await client.request(message_to(talk)))["type"] == "error":
        assert answer["code"] == "overloaded"
    assert answer["message"]["sequence"] == 2

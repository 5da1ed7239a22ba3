"""What the tests of the cluster share: real Redis servers, real nodes, one database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED_SERVER_SETTINGS, Connect, program
from tests.support.client import WireClient
from tests.support.database import Account, Database
from tests.support.redis_server import RedisServer
from tests.support.server import DEFAULT_KIND, ServerKind, ServerProcess

# A node is noticed dead soon, so that tests are short.
QUICK = SHARED_SERVER_SETTINGS | {
    "OVARA_NODE_HEARTBEAT_SECONDS": "0.3",
    "OVARA_NODE_LAPSE_SECONDS": "2",
}

StartCluster = Callable[..., list[ServerProcess]]
StartRedis = Callable[[], RedisServer]
MakeConversation = Callable[..., Awaitable[str]]


class Cluster:
    """Nodes on one database; started together."""

    def __init__(self, folder: Path, template: Database) -> None:
        self._folder = folder
        self._template = template
        self._nodes: list[ServerProcess] = []

    def start(
        self,
        count: int,
        redis: RedisServer | Sequence[RedisServer],
        *,
        kind: ServerKind = DEFAULT_KIND,
        **environment: str,
    ) -> list[ServerProcess]:
        """`count` nodes with `QUICK` settings; they may be killed and restarted at will."""
        servers = [redis] if isinstance(redis, RedisServer) else redis
        urls = ",".join(server.url for server in servers)
        settings = QUICK | {"REDIS_URL": urls} | environment
        database = self._template.copy_to(self._folder / f"db-{len(self._nodes)}.sqlite3")
        nodes = [
            ServerProcess(database, folder=self._folder, kind=kind, environment=settings)
            for _ in range(count)
        ]
        self._nodes += nodes
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_until(node.answers, timeout=60)
        return nodes

    def kill(self) -> None:
        for node in self._nodes:
            node.kill()


@pytest.fixture
def cluster(tmp_path: Path, database_template: Database) -> Iterator[Cluster]:
    """`cluster.start(3, redis_server, OVARA_…="…")`: nodes of this test's own."""
    made = Cluster(tmp_path, database_template)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def module_cluster(
    tmp_path_factory: pytest.TempPathFactory, database_template: Database
) -> Iterator[Cluster]:
    """The same for tests of a module that do no harm to their nodes."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), database_template)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Two Redis servers that nobody stops."""
    program_path = program("redis-server")
    folder = tmp_path_factory.mktemp("redis")
    servers = [RedisServer(program_path, folder=folder) for _ in range(2)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.kill()


@pytest.fixture
def second_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One more beside `redis_server`."""
    redis = RedisServer(program("redis-server"), folder=tmp_path)
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def joined(connect: Connect) -> Callable[..., Awaitable[WireClient]]:
    """`await joined(node, account, conversation_id)`: a connection that has joined."""

    async def connect_and_join(
        node: ServerProcess, account: Account, *conversation_ids: str, **options: Any
    ) -> WireClient:
        client = await connect(node, account, **options)
        for conversation_id in conversation_ids:
            await client.join(conversation_id)
        return client

    return connect_and_join


async def soon(
    is_true: Callable[[], bool | Awaitable[bool]], what: str, *, timeout: float = 10
) -> None:
    """Wait until `is_true()`, which no event tells."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        found = is_true()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not in {timeout} s: {what}"
        await asyncio.sleep(0.05)

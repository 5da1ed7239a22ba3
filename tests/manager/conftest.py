"""What the tests of the manager share: it runs in the test's process, on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connections.manager import WebSocketManager
from tests.conftest import SHARED_SERVER_SETTINGS, ServerWith, program
from tests.support.in_process import running_manager
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess


@pytest.fixture
async def manager(transactional_db: None) -> AsyncIterator[WebSocketManager]:
    """The process's manager; its node runs in the test's loop."""
    async with running_manager() as manager:
        yield manager


@pytest.fixture(scope="session")
def redis_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that nobody stops."""
    redis = RedisServer(program("redis-server"), folder=tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture(scope="session")
def redis_node(redis_of_the_run: RedisServer, start_server: ServerWith) -> ServerProcess:
    """A server that shares its channel layer; nobody stops it."""
    return start_server(**SHARED_SERVER_SETTINGS, REDIS_URL=redis_of_the_run.url)

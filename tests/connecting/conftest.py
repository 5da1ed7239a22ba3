"""What tests of connecting share: names for the fixtures' types, and how rows are read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from connections.models import Connection
from tests.connecting.raw import RawClient
from tests.support.client import WireClient
from tests.support.database import Account
from tests.support.server import DEFAULT_KIND, ServerProcess

# Where a third server for the same would only take time.
TWO_KINDS = tuple(dict.fromkeys((DEFAULT_KIND, "uvicorn")))
ALLOWED_ORIGINS = ("https://chat.example.com", "http://localhost:5173")

Connect = Callable[..., Awaitable[WireClient]]
MakeConversation = Callable[..., Awaitable[str]]
ConnectRaw = Callable[..., Awaitable[RawClient]]
ServerWith = Callable[..., ServerProcess]


@pytest.fixture(params=TWO_KINDS)
def open_server(request: pytest.FixtureRequest, shared_server_with: ServerWith) -> ServerProcess:
    """It takes the token in the query, and pages of other origins."""
    return shared_server_with(
        kind=request.param,
        OVARA_ALLOW_QUERY_TOKEN="on",
        OVARA_ALLOWED_ORIGINS=", ".join(ALLOWED_ORIGINS),
    )


@pytest.fixture
async def connect_raw() -> AsyncIterator[ConnectRaw]:
    """`await connect_raw(server, token)`: a client whose TCP socket the test holds."""
    clients: list[RawClient] = []

    async def connect_one(server: ServerProcess, token: str | None = None) -> RawClient:
        clients.append(await asyncio.to_thread(RawClient, server, token))
        return clients[-1]

    yield connect_one
    for client in clients:
        client.close()


def row_of(server: ServerProcess, connection_id: str) -> Connection:
    """A connection's row, as it is now."""
    return server.database.run(lambda alias: Connection.objects.using(alias).get(pk=connection_id))


async def closed_row(server: ServerProcess, connection_id: str) -> Connection:
    """The same when it is closed, which is written a moment after the socket ends."""
    await until(lambda: row_of(server, connection_id).disconnected_at is not None)
    return row_of(server, connection_id)


async def until(is_so: Callable[[], bool], *, timeout: float = 5) -> None:
    """Wait for what no event tells: what another process writes, holds or lets go."""
    deadline = time.monotonic() + timeout
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < deadline, f"not so in {timeout} s"
        await asyncio.sleep(0.02)


def fields_of(line: str) -> dict[str, str]:
    """The `key=value` pairs of one line of the log."""
    import shlex

    return dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)


async def refused(connect: Connect, server: ServerProcess, account: Account | None, **how: Any):
    """Connect, and be refused: exactly one frame, `disconnect`, then its code."""
    client = await connect(server, account, **how)
    end = await client.closed()
    assert client.welcome == {}, "it was let in"
    assert [frame["type"] for frame in client.frames] == ["disconnect"]
    assert end.disconnect is not None
    assert end.disconnect["code"] == end.code
    return end

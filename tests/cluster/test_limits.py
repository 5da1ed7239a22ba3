"""Limits hold for the cluster, also where all its nodes are hit at one moment."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest

from connections.models import Connection
from tests.cluster.conftest import Cluster, soon
from tests.conftest import Connect
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess
from tests.support.stores import current_store

LIMIT = 5
ATTEMPTS_A_NODE = 8
NODES = 3

ConnectTo = Callable[[ServerProcess], Awaitable[WireClient]]


@pytest.fixture(scope="module")
def nodes(module_cluster: Cluster, redis_servers: list[RedisServer]) -> list[ServerProcess]:
    return module_cluster.start(
        NODES,
        redis_servers,
        OVARA_MAX_CONNECTIONS_PER_CLIENT=str(LIMIT),
        OVARA_MAX_CONNECTIONS_PER_USER=str(2 * LIMIT),
        OVARA_MAX_CONNECTIONS_PER_ADDRESS=str(3 * LIMIT),
        # Nobody may be taken for dead, and not be counted, because this machine is slow.
        OVARA_NODE_LAPSE_SECONDS="20",
    )


def open_rows(node: ServerProcess) -> int:
    rows = Connection.objects.filter(disconnected_at__isnull=True)
    return node.database.run(lambda alias: rows.using(alias).count())


async def hit(
    nodes: list[ServerProcess], connect_to: ConnectTo
) -> tuple[list[WireClient], list[int | None]]:
    """Connect to every node at one moment; those let in, and the close codes of the others."""
    attempts = [connect_to(node) for node in nodes for _ in range(ATTEMPTS_A_NODE)]
    clients = await asyncio.gather(*attempts)
    let_in = [client for client in clients if client.welcome]
    refused = [(await client.closed()).code for client in clients if not client.welcome]
    return let_in, refused


async def part(node: ServerProcess, *clients: WireClient, left: int = 0) -> None:
    """Close `clients`; return when the registry knows it."""
    for client in clients:
        await client.close()
    await soon(lambda: open_rows(node) <= left, f"{left} connections are left")


@pytest.mark.parametrize(("what", "most"), [("client", 1), ("user", 2), ("address", 3)])
async def test_many_nodes_at_one_moment_let_no_more_in_than_one(
    nodes: list[ServerProcess], connect: Connect, what: str, most: int
) -> None:
    """Not one too many; on MongoDB as many as docs/operations.md says."""
    account, client_id = nodes[0].make_user(), str(uuid.uuid4())
    local = {"client": "127.0.0.21", "user": "127.0.0.22", "address": "127.0.0.23"}[what]
    limit = most * LIMIT
    bound = limit * NODES if current_store().kind == "mongodb" else limit

    async def one(node: ServerProcess) -> WireClient:
        person = nodes[0].make_user() if what == "address" else account
        return await connect(
            node,
            person,
            client_id=client_id if what == "client" else None,
            local_address=local,
        )

    let_in, refused = await hit(nodes, one)
    assert limit <= len(let_in) <= bound
    assert set(refused) <= {4509}
    assert len(let_in) + len(refused) == NODES * ATTEMPTS_A_NODE
    assert open_rows(nodes[0]) == len(let_in)
    # Who goes makes room, on whatever node; whoever was too many leaves none.
    spare = len(let_in) - limit
    await part(nodes[0], *let_in[: spare + 1], left=limit - 1)
    last = await one(nodes[-1])
    assert last.welcome
    assert (await (await one(nodes[0])).closed()).code == 4509
    await part(nodes[0], last, *let_in[spare + 1 :])

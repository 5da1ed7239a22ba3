"""`make cluster`: one address, three nodes behind it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Connect, program
from tests.support.client import WireClient
from tests.support.database import Database
from tests.support.local_cluster import LocalCluster

pytestmark = pytest.mark.storeless


@pytest.fixture
def local_cluster(tmp_path: Path, database_template: Database) -> Iterator[LocalCluster]:
    program("haproxy")
    program("redis-server")
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    cluster = LocalCluster(database, folder=tmp_path)
    cluster.launch()
    yield cluster
    if cluster.is_running:
        cluster.terminate(timeout=40)


async def test_the_address_it_prints_is_three_nodes(
    local_cluster: LocalCluster, connect: Connect
) -> None:
    await local_cluster.wait_until_ready()
    assert f"Page      {local_cluster.url}/" in local_cluster.logs()
    async with httpx.AsyncClient(base_url=local_cluster.url, trust_env=False, timeout=30) as http:
        page = await http.get("/", follow_redirects=True)
        assert page.status_code == 200, page.text
        assert "alice" in page.text or "name=" in page.text
    people = [local_cluster.make_user() for _ in range(6)]
    clients = [await connect(local_cluster, one, origin=local_cluster.url) for one in people]
    nodes = {client.welcome["node"] for client in clients}
    assert len(nodes) == 3, "the load balancer spreads them"
    names = [one.username for one in people[1:]]
    async with httpx.AsyncClient(
        base_url=local_cluster.url,
        headers={"Authorization": f"Bearer {people[0].token()}"},
        trust_env=False,
    ) as http:
        answer = await http.post("/api/conversations", json={"title": "x", "participants": names})
        talk = answer.json()["id"]
        mine = await http.get(f"/api/clients/{clients[0].client_id}/connections")
    # The client's own address, not the load balancer's word for it.
    assert mine.json()["connections"][0]["ip_address"] == "127.0.0.1"
    for client in clients:
        await client.join(talk)
    stored = await clients[0].message(talk, "to all nodes")
    for client in clients[1:]:
        await client.expect("message", message=stored)

    # One node is terminated: its clients are told, come back by the same address, and go on.
    pid = local_cluster.node_pids[0]
    os.kill(pid, signal.SIGTERM)
    gone = [client for client in clients if await is_sent_away(client)]
    assert gone
    for client in gone:
        place = clients.index(client)
        clients[place] = await connect(local_cluster, people[place], client_id=client.client_id)
        await clients[place].join(talk, since=stored["sequence"])
    stored = await clients[0].message(talk, "on two nodes")
    for client in clients[1:]:
        await client.expect("message", message=stored)
    assert await asyncio.to_thread(local_cluster.terminate, timeout=40) == 0


async def is_sent_away(client: WireClient) -> bool:
    try:
        return (await client.closed(timeout=2)).code == 4412
    except TimeoutError:
        return False

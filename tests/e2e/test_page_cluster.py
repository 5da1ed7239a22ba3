"""The page through `make cluster`'s load balancer: the node it is on dies, and it goes on."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import expect

from tests.conftest import program
from tests.e2e.chat_page import ChatPage
from tests.e2e.conftest import OpenChat, StartTalk
from tests.support.browser import BrowserPages
from tests.support.database import Database
from tests.support.local_cluster import LocalCluster
from tests.support.rest import rest_client

KILLS = 2
STORED = re.compile("Sent|Read")


@pytest_asyncio.fixture(loop_scope="session")
async def local_cluster(tmp_path: Path, database_template: Database) -> AsyncIterator[LocalCluster]:
    program("haproxy")
    program("redis-server")
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    cluster = LocalCluster(database, folder=tmp_path)
    cluster.launch()
    await cluster.wait_until_ready()
    yield cluster
    cluster.terminate(timeout=40)


async def node_of(tab: ChatPage) -> int:
    """The process id of the node that a page is on."""
    connection_id = await tab.connection_id()
    # Of a node that was killed just now there may be another.
    rows = {row["connection_id"]: row for row in await tab.live_connections()}
    staff = tab.server.make_user(is_staff=True)
    async with rest_client(tab.server, staff) as rest:
        stats = (await rest.get("/api/connections/stats")).json()
    nodes: dict[str, Any] = {node["id"]: node for node in stats["nodes"]}
    pid: int = nodes[rows[connection_id]["node"]]["pid"]
    return pid


async def test_pages_behind_the_load_balancer_survive_the_end_of_the_node_they_are_on(
    local_cluster: LocalCluster, start_talk: StartTalk, chat: OpenChat, pages: BrowserPages
) -> None:
    # A socket that is cut off, and a request that a dead node had begun to answer.
    pages.allow("WebSocket connection to", r"net::ERR_", "status of 50[234]")
    talk = await start_talk(local_cluster)  # type: ignore[arg-type]  # it is like a server
    alice, bob = await chat(talk.alice, talk), await chat(talk.bob, talk)
    said: list[str] = []
    for life in range(KILLS):
        said.append(f"before {life}")
        await alice.send(said[-1])
        await bob.expect_messages(*said)
        before = await alice.connection_id()
        pid = await node_of(alice)
        assert pid in local_cluster.node_pids
        os.kill(pid, signal.SIGKILL)
        said.append(f"meanwhile {life}")
        await alice.send(said[-1])
        for tab in (alice, bob):
            await tab.expect_messages(*said)
            await tab.expect_online()
        await expect(alice.meta(said[-1])).to_contain_text(STORED)
        assert await alice.connection_id() != before
        assert await node_of(alice) != pid
    assert await talk.stored() == said
    await bob.send("and on it goes")
    await alice.expect_messages(*said, "and on it goes")

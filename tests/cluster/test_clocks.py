"""Nodes whose wall clocks differ take each other for alive, and the dead for dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from tests.cluster.conftest import QUICK, Cluster, MakeConversation
from tests.conftest import ServerWith, program
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer

LAPSE_SECONDS = 4.0
# Far beyond the lapse. The other node's clock is as far behind this one's, so both ways are tried.
AHEAD_SECONDS = 60


def skewed() -> dict[str, str]:
    """The environment of a process whose wall clock is wrong, and whose stop-watch is right."""
    program("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"+{AHEAD_SECONDS}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


async def test_a_node_with_a_wrong_clock_lives_with_the_others_and_dies_like_them(
    redis_server: RedisServer,
    cluster: Cluster,
    start_server: ServerWith,
    make_conversation: MakeConversation,
    joined: Callable[..., Awaitable[WireClient]],
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    lapse = {"OVARA_NODE_LAPSE_SECONDS": str(LAPSE_SECONDS)}
    (right,) = cluster.start(1, redis_server, **lapse)
    wrong = start_server(
        database=right.database, REDIS_URL=redis_server.url, **(QUICK | lapse | skewed())
    )
    alice, bob, staff = right.make_user(), right.make_user(), right.make_user(is_staff=True)
    talk = await make_conversation(right, alice, bob)
    here = await joined(right, alice, talk)
    there = await joined(wrong, bob, talk)
    await here.expect("user_joined", user=bob.as_json)
    for _ in range(3):
        await asyncio.sleep(LAPSE_SECONDS / 2)
        assert await total(rest(right, staff)) == 2
        assert await total(rest(wrong, staff)) == 2
    for client, other in ((here, there), (there, here)):
        stored = await client.message(talk, "still here")
        await other.expect("message", message=stored)
    assert "node_taken_for_dead" not in right.logs() + wrong.logs()
    wrong.kill()
    left = await here.expect("user_left", timeout=15)
    assert left["user"] == bob.as_json
    await asyncio.sleep(1)
    assert await total(rest(right, staff)) == 1


async def total(http: httpx.AsyncClient) -> int:
    answer = await http.get("/api/connections/stats")
    assert answer.status_code == 200, answer.text
    count: int = answer.json()["total_connections"]
    return count

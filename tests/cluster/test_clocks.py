"""Nodes whose wall clocks differ take each other for alive, and the dead for dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import jwt

from tests.cluster.conftest import QUICK, Cluster, MakeConversation
from tests.conftest import Connect, ServerWith, program
from tests.support.client import WireClient
from tests.support.environment import ROOT
from tests.support.redis_server import RedisServer

LAPSE_SECONDS = 6.0
# Far beyond the lapse. The other node's clock is as far behind this one's, so both ways are tried.
AHEAD_SECONDS = 60
# Within what docs/operations.md allows (5 s).
TOLERATED_SECONDS = 4.0
GRACE_SECONDS = 10.0
# For what a crowded machine takes to come back.
MARGIN_SECONDS = 4.0


def skewed(ahead_seconds: float = AHEAD_SECONDS) -> dict[str, str]:
    """The environment of a process whose wall clock is wrong, and whose stop-watch is right."""
    program("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"+{ahead_seconds}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(ROOT / "tests/support/faketime"),
    }


async def test_a_node_with_a_wrong_clock_lives_with_the_others_and_dies_like_them(
    redis_server: RedisServer,
    cluster: Cluster,
    server_with: ServerWith,
    make_conversation: MakeConversation,
    joined: Callable[..., Awaitable[WireClient]],
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    lapse = {"OVARA_NODE_LAPSE_SECONDS": str(LAPSE_SECONDS)}
    (right,) = cluster.start(1, redis_server, **lapse)
    wrong = server_with(
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


async def test_clocks_that_differ_by_what_is_allowed_refuse_no_token_and_keep_most_of_the_grace(
    redis_server: RedisServer,
    cluster: Cluster,
    server_with: ServerWith,
    make_conversation: MakeConversation,
    connect: Connect,
    joined: Callable[..., Awaitable[WireClient]],
) -> None:
    settings = {
        "OVARA_PRESENCE_GRACE_SECONDS": str(GRACE_SECONDS),
        # Nobody dies here, however slow the machine is.
        "OVARA_NODE_LAPSE_SECONDS": "20",
    }
    (right,) = cluster.start(1, redis_server, **settings)
    ahead = server_with(
        database=right.database,
        REDIS_URL=redis_server.url,
        **(QUICK | settings | skewed(TOLERATED_SECONDS)),
    )
    alice, bob = right.make_user(), right.make_user()
    talk = await make_conversation(right, alice, bob)
    async with httpx.AsyncClient(base_url=ahead.url, trust_env=False, timeout=30) as http:
        credentials = {"username": bob.username, "password": bob.password}
        token = (await http.post("/api/token/", json=credentials)).json()["access"]
        # From the right node's future.
        moment = jwt.decode(token, options={"verify_signature": False})["iat"]
        assert moment - time.time() > TOLERATED_SECONDS / 2
    there = await joined(ahead, alice, talk)
    here = await connect(right, token=token)
    assert here.welcome["authenticated"]
    await here.join(talk)
    await there.expect("user_joined", user=bob.as_json)

    # It leaves by the right node's clock; the other is the first to find its grace over.
    left_at = time.monotonic()
    await here.close()
    await asyncio.sleep(GRACE_SECONDS - TOLERATED_SECONDS - MARGIN_SECONDS)
    again = await joined(right, bob, talk)
    assert await there.pending("user_left", "user_joined") == []
    assert time.monotonic() - left_at < GRACE_SECONDS - TOLERATED_SECONDS, "too slow to tell"
    left_at = time.monotonic()
    await again.close()
    left = await there.expect("user_left", timeout=GRACE_SECONDS + 10)
    assert left["user"] == bob.as_json
    seconds = time.monotonic() - left_at
    assert seconds > GRACE_SECONDS - TOLERATED_SECONDS - 0.5

"""A part of the cluster loses a part of Redis: that part alone is lame, and it heals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import redis as redis_client

from sessions_app.models import Participant
from tests.cluster.conftest import QUICK, Cluster, MakeConversation, soon
from tests.conftest import ServerWith
from tests.support.client import WireClient
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess
from tests.support.tcp_proxy import TcpProxy

Joined = Callable[..., Awaitable[WireClient]]


async def status(node: ServerProcess) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        return (await http.get(f"{node.url}/readyz")).status_code


async def test_a_node_that_is_cut_off_from_redis_goes_on_alone_and_comes_back(
    redis_server: RedisServer,
    cluster: Cluster,
    server_with: ServerWith,
    make_conversation: MakeConversation,
    joined: Joined,
) -> None:
    (whole,) = cluster.start(1, redis_server)
    async with TcpProxy.running(redis_server.port) as line:
        url = f"redis://127.0.0.1:{line.port}/0"
        alone = server_with(database=whole.database, **(QUICK | {"REDIS_URL": url}))
        alice, bob, carol = (whole.make_user() for _ in range(3))
        talk = await make_conversation(whole, alice, bob, carol)
        far = await joined(whole, alice, talk)
        near, beside = await joined(alone, bob, talk), await joined(alone, carol, talk)
        stored = await far.message(talk, "before")
        await near.expect("message", message=stored)

        mark = alone.log_mark()
        line.cut()
        await soon(lambda: is_status(alone, 503), "it can be asked")
        # `readyz` asks for itself, and may know of it before the node does.
        await alone.wait_for_log("channel_layer_lost", since=mark, timeout=15)
        assert await status(whole) == 200
        missed = [await far.message(talk, "over there"), await near.message(talk, "over here")]
        await beside.expect("message", message=missed[1])
        assert await far.pending("message") == []

        line.mend()
        for client in (far, near, beside):
            await client.expect("resync", timeout=15)
        await soon(lambda: is_status(alone, 200), "the node is back")
        for client in (far, near):
            page = await client.request(
                {"type": "history", "conversation_id": talk, "after": stored["sequence"]}
            )
            assert page["messages"] == missed
        last = await far.message(talk, "after")
        await near.expect("message", message=last)
        assert "node_taken_for_dead" not in whole.logs() + alone.logs()


async def is_status(node: ServerProcess, wanted: int) -> bool:
    return await status(node) == wanted


async def test_of_two_redis_servers_one_that_is_away_takes_its_own_conversations_alone(
    redis_server: RedisServer,
    second_redis: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
) -> None:
    nodes = cluster.start(2, [redis_server, second_redis])
    alice, bob = nodes[0].make_user(), nodes[0].make_user()
    talks = [await make_conversation(nodes[0], alice, bob) for _ in range(16)]
    here, there = await joined(nodes[0], alice, *talks), await joined(nodes[1], bob, *talks)
    second_redis.kill()
    for node in nodes:
        await soon(lambda node=node: is_status(node, 503), "the nodes notice")
    stored = {talk: await here.message(talk, "during") for talk in talks}

    async def some_came() -> bool:
        return bool(await there.pending("message"))

    await soon(some_came, "what the other server carries")
    second_redis.start()
    for client in (here, there):
        await client.expect("resync", timeout=15)
    arrived = {frame["conversation_id"] for frame in await there.pending("message")}
    assert 0 < len(arrived) < len(talks)
    for talk in talks:
        page = await there.request({"type": "history", "conversation_id": talk})
        assert page["messages"] == [stored[talk]]
    for node in nodes:
        await soon(lambda node=node: is_status(node, 200), "the nodes are ready again")
    last = {talk: await here.message(talk, "after") for talk in talks}
    for talk in talks:
        await there.expect("message", conversation_id=talk, message=last[talk])


async def test_who_was_taken_out_while_nobody_could_say_so_is_out_when_the_layer_is_back(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    joined: Joined,
) -> None:
    # No heartbeat looks for strangers meanwhile.
    (node,) = cluster.start(
        1,
        redis_server,
        OVARA_NODE_HEARTBEAT_SECONDS="60",
        OVARA_NODE_LAPSE_SECONDS="120",
    )
    alice, bob = node.make_user(), node.make_user()
    talk = await make_conversation(node, alice, bob)
    owner, removed = await joined(node, alice, talk), await joined(node, bob, talk)
    # As another node does whose word is lost.
    parts = Participant.objects.filter(user_id=bob.id)
    node.database.run(lambda alias: parts.using(alias).delete())
    await owner.message(talk, "still heard")
    await removed.expect("message")
    with redis_client.Redis.from_url(redis_server.url) as redis:
        redis.client_kill_filter(_type="pubsub")
    await removed.expect("resync", timeout=10)

    async def is_out() -> bool:
        await owner.message(talk, "in private")
        removed.frames.clear()
        await owner.message(talk, "in private")
        return await removed.pending("message") == []

    await soon(is_out, "who has no part is taken out")

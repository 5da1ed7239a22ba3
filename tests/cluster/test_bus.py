"""The bus alone, on real Redis servers: two nodes' buses in one process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis as redis_client
from channels.layers import get_channel_layer

from connections.bus import MESSAGE_TYPE, Bus
from connections.publication import publication
from connections.redis_layer import shard_number
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.storeless


class Recorded(Bus):
    """A bus that notes what it is told."""

    def __init__(self, name: str) -> None:
        self.texts: list[str] = []
        self.gaps: list[str | None] = []
        self.news = asyncio.Condition()
        super().__init__(name, self._note, lambda _: None, self._gap)

    def _note(self, item: Any) -> None:
        self.texts.append(item.text)

    def _gap(self, group: str | None) -> None:
        self.gaps.append(group)

    def say(self, number: int, conversation: str = "c") -> None:
        item = publication("conversation", conversation, {"type": "notification", "n": number})
        self.publish(item.group, item)


async def until(is_true: Callable[[], bool], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not is_true():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)


def configure(settings: Any, *servers: RedisServer) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [server.url for server in servers], "prefix": "ovara"},
        }
    }


@asynccontextmanager
async def two_buses() -> AsyncIterator[tuple[Recorded, Recorded]]:
    """Both running, and members of `conversation.c`."""
    first, second = Recorded("first"), Recorded("second")
    await first.start()
    await second.start()
    for bus in (first, second):
        bus.join("conversation.c")
        assert await bus.joined("conversation.c")
    try:
        yield first, second
    finally:
        await asyncio.gather(first.stop(), second.stop())
        await get_channel_layer().flush()


@pytest.fixture
def redis(redis_servers: list[RedisServer], settings: Any) -> RedisServer:
    configure(settings, redis_servers[0])
    return redis_servers[0]


def calls(redis: RedisServer, command: str) -> int:
    with redis_client.Redis.from_url(redis.url) as client:
        stats = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


def texts(*numbers: int) -> list[str]:
    return [f'{{"type":"notification","n":{number}}}' for number in numbers]


async def test_what_is_published_at_one_moment_travels_together(redis: RedisServer) -> None:
    async with two_buses() as (first, second):
        before = calls(redis, "publish")
        for number in range(300):
            first.say(number)
        await until(lambda: len(second.texts) == 300)
        # Two probes may have gone by meanwhile.
        assert calls(redis, "publish") - before <= 3
        assert second.texts == texts(*range(300))
        assert first.texts == []


async def test_a_message_that_the_layer_sends_twice_is_handed_on_once(redis: RedisServer) -> None:
    async with two_buses() as (first, second):
        layer = get_channel_layer()
        item = publication("conversation", "c", {"type": "notification", "n": 1})
        message = first._pack([item], shard=0, number=1_000)
        assert message["type"] == MESSAGE_TYPE
        await layer.group_send("conversation.c", message)
        await layer.group_send("conversation.c", message)
        await layer.group_send("conversation.c", message | {"number": 1_001})
        await until(lambda: len(second.texts) >= 2)
        await asyncio.sleep(0.1)
        assert second.texts == texts(1, 1)


async def test_a_cut_connection_is_noticed_though_the_layer_mends_it_in_silence(
    redis: RedisServer,
) -> None:
    async with two_buses() as (first, second):
        assert first.gaps == second.gaps == []
        with redis_client.Redis.from_url(redis.url) as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: first.gaps == second.gaps == [None])
        first.say(1)
        await until(lambda: second.texts == texts(1))


async def test_a_server_that_hangs_is_noticed_and_found_again(
    redis_server: RedisServer, settings: Any
) -> None:
    configure(settings, redis_server)
    async with two_buses() as (first, second):
        redis_server.signal(signal.SIGSTOP)
        await until(lambda: not first.is_up and not second.is_up)
        first.say(1)
        assert not await first.joined("conversation.d")
        redis_server.signal(signal.SIGCONT)
        await until(lambda: first.is_up and second.is_up)
        # What is not in any database waited for the server.
        await until(lambda: second.texts == texts(1))
        assert first.gaps == second.gaps == [None]


async def test_one_server_of_several_that_is_away_does_not_hold_up_the_others(
    redis_server: RedisServer, redis_servers: list[RedisServer], settings: Any
) -> None:
    configure(settings, redis_servers[0], redis_server)
    async with two_buses() as (first, second):
        layer = get_channel_layer()
        names = [f"c{n}" for n in range(40)]
        by_shard = [
            [name for name in names if shard_number(layer, f"conversation.{name}") == shard]
            for shard in (0, 1)
        ]
        assert all(by_shard)
        for name in names:
            second.join(f"conversation.{name}")
            assert await second.joined(f"conversation.{name}")
        redis_server.kill()
        await until(lambda: not first.is_up)
        for name in names:
            first.say(1, name)
        await until(lambda: len(second.texts) == len(by_shard[0]), timeout=1)
        redis_server.start()
        await until(lambda: len(second.texts) == len(names))

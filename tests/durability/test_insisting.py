"""While the database is away callers are told so together, and what must be written waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from django.db import OperationalError

from ovara.errors import Overloaded
from ovara.group_commit import GroupCommit
from ovara.write_health import WriteHealth
from tests.support.in_process import until


class Database:
    """Takes items while `away` is not set; `gate` holds an attempt up."""

    def __init__(self) -> None:
        self.away = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.taken: list[int] = []
        self.attempts = 0

    def write(self, items: Sequence[int]) -> list[int | Exception]:
        assert self.gate.wait(10)
        self.attempts += 1
        if self.away.is_set():
            raise OperationalError("the disk has gone")
        self.taken += items
        return [item * 10 for item in items]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def health() -> WriteHealth:
    return WriteHealth()


@pytest.fixture
def queue(database: Database, health: WriteHealth) -> GroupCommit[int, int]:
    return GroupCommit("test-insisting", database.write, capacity=3, max_batch=2, health=health)


async def test_what_insists_is_written_when_the_database_is_back(
    queue: GroupCommit[int, int], database: Database
) -> None:
    database.away.set()
    kept = [asyncio.ensure_future(queue.commit(number, insist=True)) for number in (1, 2, 3)]
    with pytest.raises(Overloaded):
        await queue.commit(4)
    await until(lambda: database.attempts > 2)
    assert not any(future.done() for future in kept)
    database.away.clear()
    assert await asyncio.gather(*kept) == [10, 20, 30]
    assert database.taken == [1, 2, 3]
    assert queue.close()


async def test_whoever_comes_while_the_database_is_away_waits_for_one_attempt_only(
    queue: GroupCommit[int, int], database: Database
) -> None:
    database.away.set()
    database.gate.clear()
    callers = [asyncio.ensure_future(queue.commit(1))]
    await until(lambda: queue._writing == 1)
    callers += [asyncio.ensure_future(queue.commit(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    database.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(result, Overloaded) for result in results), results
    assert database.attempts == 1
    assert queue.close()


async def test_what_insists_finds_room_in_a_full_queue(
    queue: GroupCommit[int, int], database: Database
) -> None:
    database.gate.clear()
    callers = [asyncio.ensure_future(queue.commit(0))]
    await until(lambda: queue._writing == 1)
    callers += [asyncio.ensure_future(queue.commit(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        queue.submit(4)
    insisting = queue.submit(5, insist=True)
    database.gate.set()
    await asyncio.gather(*callers)
    assert insisting.result(5) == 50
    assert queue.close()


def test_what_insists_does_not_keep_a_process_from_ending(
    queue: GroupCommit[int, int], database: Database
) -> None:
    database.away.set()
    future = queue.submit(1, insist=True)
    assert queue.close()
    with pytest.raises(Overloaded):
        future.result(0)


def test_health_tells_of_the_newest_attempt(
    queue: GroupCommit[int, int], database: Database, health: WriteHealth
) -> None:
    assert health.problem() is None
    database.away.set()
    with pytest.raises(Overloaded):
        queue.submit(1).result(5)
    assert "no write has succeeded" in str(health.problem())
    database.away.clear()
    assert queue.submit(2).result(5) == 20
    assert health.problem() is None
    assert queue.close()


async def test_health_tells_of_an_attempt_that_takes_too_long(
    queue: GroupCommit[int, int],
    database: Database,
    health: WriteHealth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ovara.write_health.SLOW_SECONDS", 0.05)
    database.gate.clear()
    future = queue.submit(1)
    await until(lambda: "test-insisting waits" in str(health.problem()))
    database.gate.set()
    assert await asyncio.wrap_future(future) == 10
    assert health.problem() is None
    assert queue.close()

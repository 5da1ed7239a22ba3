"""Many callers, one writer thread, one transaction for all that waits."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest
from django.db import OperationalError

from ovara import group_commit
from ovara.errors import Overloaded
from ovara.group_commit import GroupCommit
from tests.support.in_process import until

pytestmark = pytest.mark.storeless


class Writer:
    """Keeps what it was given, batch by batch; `gate` holds it up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.fail: Callable[[Sequence[int]], None] = lambda items: None

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        assert self.gate.wait(10)
        self.threads.add(threading.current_thread().name)
        self.fail(items)
        self.batches.append(list(items))
        return [item * 10 for item in items]


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def queue(writer: Writer) -> Iterator[GroupCommit[int, int]]:
    queue: GroupCommit[int, int] = GroupCommit("test-queue", writer, capacity=10, max_batch=4)
    yield queue
    writer.gate.set()
    assert queue.close()


async def held(queue: GroupCommit[int, int], writer: Writer, first: int) -> asyncio.Future[int]:
    """The writer is at work on `first`, and stays so until `writer.gate` is set."""
    writer.gate.clear()
    task = asyncio.ensure_future(queue.commit(first))
    await until(lambda: queue._writing == 1)
    return task


async def test_a_lone_item_waits_for_nothing(queue: GroupCommit[int, int], writer: Writer) -> None:
    assert await queue.commit(1) == 10
    assert writer.batches == [[1]]
    assert writer.threads == {"test-queue"}


async def test_what_gathers_meanwhile_is_one_batch_of_a_bounded_size(
    queue: GroupCommit[int, int], writer: Writer
) -> None:
    first = await held(queue, writer, 0)
    rest = [asyncio.ensure_future(queue.commit(number)) for number in range(1, 7)]
    await asyncio.sleep(0)
    assert len(queue) == 7
    writer.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 10, 20, 30, 40, 50, 60]
    assert writer.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert len(queue) == 0


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the queue every batch takes a minute."""
    minutes = itertools.count(step=60)
    monkeypatch.setattr(group_commit, "time", SimpleNamespace(monotonic=lambda: next(minutes)))


async def company(queue: GroupCommit[int, int], writer: Writer) -> None:
    """A batch of four was written."""
    first = await held(queue, writer, 0)
    others = [asyncio.ensure_future(queue.commit(number)) for number in range(1, 5)]
    await asyncio.sleep(0)
    writer.gate.set()
    await asyncio.gather(first, *others)
    assert writer.batches == [[0], [1, 2, 3, 4]]


@pytest.mark.usefixtures("slow_writes")
async def test_after_a_batch_in_company_the_next_one_gathers_until_it_is_as_large(
    queue: GroupCommit[int, int], writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 60)
    await company(queue, writer)
    for number in range(5, 8):
        queue.begin(number)
        # Were it not gathering, it would take this one now.
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        assert await queue.commit(8) == 80
    assert writer.batches[2:] == [[5, 6, 7, 8]]


@pytest.mark.usefixtures("slow_writes")
async def test_it_gathers_no_longer_than_the_pause(
    queue: GroupCommit[int, int], writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 0.05)
    await company(queue, writer)
    async with asyncio.timeout(10):
        assert await asyncio.gather(queue.commit(5), queue.commit(6)) == [50, 60]
    assert writer.batches[2:] == [[5, 6]]


@pytest.mark.usefixtures("slow_writes")
async def test_a_queue_that_gathers_closes_at_once(
    queue: GroupCommit[int, int], writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 60)
    await company(queue, writer)
    last = queue.begin(5)
    assert await asyncio.to_thread(queue.close, 10)
    assert await last == 50


@pytest.mark.usefixtures("slow_writes")
async def test_a_lone_item_is_nobodys_company(
    queue: GroupCommit[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 60)
    async with asyncio.timeout(10):
        assert [await queue.commit(number) for number in range(3)] == [0, 10, 20]


async def test_callers_are_woken_in_the_order_of_their_items(
    queue: GroupCommit[int, int], writer: Writer
) -> None:
    woken: list[int] = []

    async def call(number: int) -> None:
        await queue.commit(number)
        woken.append(number)

    first = await held(queue, writer, 0)
    calls = [asyncio.ensure_future(call(number)) for number in range(1, 8)]
    await asyncio.sleep(0)
    writer.gate.set()
    await asyncio.gather(first, *calls)
    assert woken == list(range(1, 8))


async def test_a_bad_item_fails_alone(queue: GroupCommit[int, int], writer: Writer) -> None:
    def refuse_thirteen(items: Sequence[int]) -> None:
        if 13 in items:
            raise ZeroDivisionError("thirteen")

    writer.fail = refuse_thirteen
    first = await held(queue, writer, 0)
    rest = [asyncio.ensure_future(queue.commit(number)) for number in (1, 13, 2)]
    await asyncio.sleep(0)
    writer.gate.set()
    results = await asyncio.gather(first, *rest, return_exceptions=True)
    assert results[0:2] == [0, 10] and results[3] == 20
    assert isinstance(results[2], ZeroDivisionError)
    assert await queue.commit(4) == 40


async def test_an_item_may_have_an_error_for_its_result() -> None:
    queue: GroupCommit[int, int] = GroupCommit(
        "test-errors", lambda items: [ValueError("odd") if item % 2 else item for item in items]
    )
    results = await asyncio.gather(
        *(queue.commit(number) for number in range(3)), return_exceptions=True
    )
    assert (results[0], results[2]) == (0, 2)
    assert isinstance(results[1], ValueError)
    assert queue.close()


async def test_a_full_queue_refuses_at_once_and_takes_again_later(
    queue: GroupCommit[int, int], writer: Writer
) -> None:
    first = await held(queue, writer, 0)
    waiting = [asyncio.ensure_future(queue.commit(number)) for number in range(1, 11)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="test-queue is full"):
        await queue.commit(11)
    with pytest.raises(Overloaded):
        queue.submit(12)
    writer.gate.set()
    await asyncio.gather(first, *waiting)
    assert await queue.commit(13) == 130
    assert all(11 not in batch for batch in writer.batches)


async def test_a_database_that_is_gone_is_said_and_its_return_needs_nothing(
    queue: GroupCommit[int, int], writer: Writer
) -> None:
    tried = []

    def gone(items: Sequence[int]) -> None:
        tried.append(list(items))
        raise OperationalError("the disk has gone")

    first = await held(queue, writer, 0)
    rest = [asyncio.ensure_future(queue.commit(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    writer.fail = gone
    writer.gate.set()
    results = await asyncio.gather(first, *rest, return_exceptions=True)
    for result in results:
        assert isinstance(result, Overloaded)
        assert str(result) == (
            "The test-queue can't reach the database. Nothing was stored; try again."
        )
        assert isinstance(result.__cause__, OperationalError)
    # Once for all: item by item, or batch by batch, each would wait for the same time-out again.
    assert tried == [[0]]
    writer.fail = lambda items: None
    assert await queue.commit(5) == 50


async def test_a_writer_that_forgets_an_item_leaves_nobody_waiting() -> None:
    queue: GroupCommit[int, int] = GroupCommit("test-forgetful", lambda items: [])
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="test-forgetful"):
            await queue.commit(1)
        with pytest.raises(RuntimeError):
            await queue.commit(2)
    assert queue.close()


async def test_a_writer_that_breaks_off_leaves_nobody_waiting_and_goes_on(
    queue: GroupCommit[int, int], writer: Writer
) -> None:
    def break_off(items: Sequence[int]) -> None:
        raise SystemExit("not even an Exception")

    first = await held(queue, writer, 0)
    behind = asyncio.ensure_future(queue.commit(1))
    await asyncio.sleep(0)
    writer.fail = break_off
    writer.gate.set()
    async with asyncio.timeout(5):
        for call in (first, behind):
            with pytest.raises(RuntimeError, match="test-queue broke off: SystemExit"):
                await call
        writer.fail = lambda items: None
        assert await queue.commit(2) == 20
    assert len(queue) == 0


async def test_a_cancelled_caller_keeps_nothing_from_being_written(
    queue: GroupCommit[int, int], writer: Writer
) -> None:
    first = await held(queue, writer, 0)
    impatient = asyncio.ensure_future(queue.commit(1))
    patient = asyncio.ensure_future(queue.commit(2))
    await asyncio.sleep(0)
    impatient.cancel()
    writer.gate.set()
    await first
    assert await patient == 20
    assert writer.batches == [[0], [1, 2]]


def test_threads_and_loops_may_wait_for_the_same_batch(
    queue: GroupCommit[int, int], writer: Writer
) -> None:
    writer.gate.clear()
    futures = [queue.submit(number) for number in range(3)]
    results: list[int] = []

    async def call(number: int) -> int:
        return await queue.commit(number)

    threads = [
        threading.Thread(target=lambda n=number: results.append(asyncio.run(call(n))))  # type: ignore[misc]
        for number in range(3, 6)
    ]
    for thread in threads:
        thread.start()
    writer.gate.set()
    assert [future.result(5) for future in futures] == [0, 10, 20]
    for thread in threads:
        thread.join(5)
    assert sorted(results) == [30, 40, 50]


def test_closing_writes_what_waits_and_a_later_item_starts_anew(writer: Writer) -> None:
    queue: GroupCommit[int, int] = GroupCommit("test-closing", writer)
    writer.gate.clear()
    futures = [queue.submit(number) for number in range(5)]
    threading.Timer(0.05, writer.gate.set).start()
    assert queue.close()
    assert [future.result(0) for future in futures] == [0, 10, 20, 30, 40]
    assert "test-closing" not in {thread.name for thread in threading.enumerate()}
    assert queue.submit(7).result(5) == 70
    assert queue.close()


def test_closing_says_when_it_took_too_long(writer: Writer) -> None:
    queue: GroupCommit[int, int] = GroupCommit("test-late", writer)
    writer.gate.clear()
    future = queue.submit(1)
    assert not queue.close(timeout_seconds=0.05)
    writer.gate.set()
    assert future.result(5) == 10

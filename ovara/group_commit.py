"""Group commit: many callers await, one thread writes, one transaction for all that waits.

One transaction a caller through a thread pool gives hundreds a second. Here a writer thread with a
database connection of its own takes everything that is waiting, writes it in one transaction,
answers every caller, and takes what has gathered meanwhile. Under load the batches grow by
themselves; idle, a lone item waits for nothing.

The journal (messages) and the registry (connections) are its users; DESIGN, 'Durability'.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError, connection

from ovara.errors import OvaraError, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

# SQLite has one writer at a time. Processes wait for each other by the busy timeout, which sleeps;
# threads of one process take turns by this lock, which does not.
_sqlite_turn = threading.Lock()


def _renew_turn() -> None:
    """A parent's thread that held it at the moment of a fork would hold the child's for ever."""
    global _sqlite_turn
    _sqlite_turn = threading.Lock()


os.register_at_fork(after_in_child=_renew_turn)


class GroupCommit(Generic[Item, Result]):
    """A queue with one writer thread behind it.

    Args:
        name: for the thread and the logs.
        write: called in the writer thread, inside no transaction of ours, with the items of one
            batch in the order of their arrival; it opens the transaction, and returns for every
            item its result, or the exception that this item's caller shall see. An exception that
            it raises is the whole batch's: the items are then written again one by one, so that
            the bad one fails alone.
        capacity: items that may wait before callers get `Overloaded`.
        max_batch: items in one transaction at the most.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        capacity: int = 10_000,
        max_batch: int = 500,
    ) -> None:
        self.name = name
        self._write = write
        self._capacity = capacity
        self._max_batch = max_batch
        self._begin()
        # A forked child has its parent's queue, but not the thread behind it.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._waiting: deque[_Job[Item, Result]] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._writing = 0

    def __len__(self) -> int:
        """Items that wait or are being written."""
        return len(self._waiting) + self._writing

    async def commit(self, item: Item) -> Result:
        """Write `item`; return when it is committed.

        Callers of one loop are woken in the order of their items. A caller that is cancelled no
        longer hears of its item; the item is written all the same.

        Raises:
            Overloaded: the queue is full, or the database did not take the batch; nothing stored.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._enqueue(_Job(item, future, loop))
        return await future

    def submit(self, item: Item) -> Future[Result]:
        """Like `commit`, for threads and for callers that do not wait."""
        future: Future[Result] = Future()
        self._enqueue(_Job(item, future, None))
        return future

    def close(self, timeout_seconds: float = 10.0) -> bool:
        """Write what is waiting, then end the thread. A later item starts it again.

        Returns:
            Whether everything was written in time.
        """
        with self._wake:
            thread = self._thread
            if thread is None:
                return True
            self._closing = True
            self._wake.notify()
        thread.join(timeout_seconds)
        return not thread.is_alive()

    def _enqueue(self, job: _Job[Item, Result]) -> None:
        with self._wake:
            if len(self._waiting) >= self._capacity:
                raise Overloaded(f"The {self.name} is full. Nothing was stored; try again.")
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._wake.notify()

    def _run(self) -> None:
        try:
            while batch := self._take():
                results = self._write_batch([job.item for job in batch])
                self._writing = 0
                _answer(batch, results)
        finally:
            connection.close()

    def _take(self) -> list[_Job[Item, Result]]:
        """The next batch; empty when the thread shall end."""
        with self._wake:
            while not self._waiting:
                if self._closing:
                    self._closing, self._thread = False, None
                    return []
                self._wake.wait()
            count = min(len(self._waiting), self._max_batch)
            self._writing = count
            return [self._waiting.popleft() for _ in range(count)]

    def _write_batch(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        try:
            return self._write_once(items)
        except (OperationalError, InterfaceError) as error:
            # Gone, full, locked or read-only: item by item would fail alike, and wait each time.
            log.error("%s: the database did not take %d: %s", self.name, len(items), error)
            # A connection that is broken would fail for ever; a new one is made by the next use.
            connection.close()
            return [_unavailable(self.name, error)] * len(items)
        except OvaraError as error:
            return [error] * len(items)
        except Exception as error:
            log.exception("%s: a batch of %d failed", self.name, len(items))
            if len(items) == 1:
                return [error]
        return [result for item in items for result in self._write_batch([item])]

    def _write_once(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        connection.close_if_unusable_or_obsolete()
        if connection.vendor == "sqlite":
            with _sqlite_turn:
                results = self._write(items)
        else:
            results = self._write(items)
        if len(results) != len(items):
            raise RuntimeError(f"{self.name}: {len(results)} results for {len(items)} items")
        return results


class _Job(Generic[Item, Result]):
    """An item and who waits for it: a loop's future, or a thread's where `loop` is None."""

    __slots__ = ("future", "item", "loop")

    def __init__(
        self,
        item: Item,
        future: asyncio.Future[Result] | Future[Result],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.item = item
        self.future = future
        self.loop = loop


def _unavailable(name: str, error: Exception) -> Overloaded:
    unavailable = Overloaded(f"The {name} can't reach the database. Nothing was stored; try again.")
    unavailable.__cause__ = error
    return unavailable


def _answer(batch: Sequence[_Job[Item, Result]], results: Sequence[Result | Exception]) -> None:
    """Resolve every future; one wake-up for each loop, however many wait there."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job[Item, Result], Result | Exception]]]
    by_loop = {}
    for job, result in zip(batch, results, strict=True):
        if job.loop is None:
            _resolve(job, result)
        else:
            by_loop.setdefault(job.loop, []).append((job, result))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_all, answers)
        except RuntimeError:
            # The loop was closed meanwhile: nobody is left to hear it.
            log.warning("%d callers were gone before their batch was committed", len(answers))


def _resolve_all(
    answers: Sequence[tuple[_Job[Item, Result], Result | Exception]],
) -> None:
    for job, result in answers:
        _resolve(job, result)


def _resolve(job: _Job[Item, Result], result: Result | Exception) -> None:
    if job.future.done():
        return
    if isinstance(result, Exception):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)

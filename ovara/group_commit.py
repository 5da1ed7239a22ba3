"""Group commit: many callers await, one thread writes, one transaction for all that waits.

One transaction a caller through a thread pool gives hundreds a second. Here a writer thread with a
database connection of its own takes everything that is waiting, writes it in one transaction,
answers every caller, and takes what has gathered meanwhile. Under load the batches grow by
themselves, and are given a moment for it; idle, a lone item waits for nothing.

The journal (messages), the registry (connections) and the notes (read positions, session states)
are its users; docs/architecture.md, 'Durability'.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic

from django.db import connection

from ovara.callers import Item, Job, Result, answer
from ovara.database import UNSERVED
from ovara.errors import OvaraError, Overloaded
from ovara.write_health import WriteHealth

log = logging.getLogger(__name__)

# While the database takes nothing: the pause before what must be written is tried again.
RETRY_SECONDS = 0.5
# Where a batch had so many items more will come, and may gather until there are as many again: no
# longer than the batch took, so that a lone caller waits for nothing and many share what a batch
# costs.
COMPANY = 4
GATHER_SECONDS = 0.005


class DatabaseAway(Overloaded):
    """The database did not take a batch: gone, full, locked or read-only.

    `is_certain`: nothing was stored. Otherwise the database was lost before it could answer.
    """

    def __init__(self, message: str, *, is_certain: bool) -> None:
        super().__init__(message)
        self.is_certain = is_certain


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
        health: told how each batch fares.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        capacity: int = 10_000,
        max_batch: int = 500,
        health: WriteHealth | None = None,
    ) -> None:
        self.name = name
        self._health = health or WriteHealth()
        self._write = write
        self._capacity = capacity
        self._max_batch = max_batch
        self._begin()
        # A forked child has its parent's queue, but not the thread behind it.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._waiting: deque[Job[Item, Result]] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._writing = 0
        # Items that are worth waking the thread for.
        self._enough = 1

    def __len__(self) -> int:
        """Items that wait or are being written."""
        return len(self._waiting) + self._writing

    async def commit(self, item: Item, *, insist: bool = False) -> Result:
        """Write `item`; return when it is committed.

        Callers of one loop are woken in the order of their items. A caller that is cancelled no
        longer hears of its item; the item is written all the same.

        Args:
            insist: wait for the database however long it is away, whatever else waits: for what
                has happened already and must be known.

        Raises:
            Overloaded: the queue is full, or the database did not take the batch; nothing stored.
        """
        return await self.begin(item, insist=insist)

    def begin(self, item: Item, *, insist: bool = False) -> asyncio.Future[Result]:
        """Like `commit`, for callers in a loop that go on meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._enqueue(Job(item, future, loop, insist))
        return future

    def submit(self, item: Item, *, insist: bool = False) -> Future[Result]:
        """Like `begin`, for threads."""
        future: Future[Result] = Future()
        self._enqueue(Job(item, future, None, insist))
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

    def _enqueue(self, job: Job[Item, Result]) -> None:
        with self._wake:
            if len(self._waiting) >= self._capacity and not job.insists:
                raise Overloaded(f"The {self.name} is full. Nothing was stored; try again.")
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            if len(self._waiting) >= self._enough:
                self._wake.notify()

    def _run(self) -> None:
        try:
            while batch := self._take():
                try:
                    self._commit(batch)
                except BaseException as error:
                    # Whatever it is: nobody shall wait for a thread that has ended.
                    self._fail(batch, error)
        finally:
            connection.close()

    def _commit(self, batch: Sequence[Job[Item, Result]]) -> None:
        began_at = time.monotonic()
        results = self._write_batch([job.item for job in batch])
        took = time.monotonic() - began_at
        away = next((one for one in results if isinstance(one, DatabaseAway)), None)
        self._health.attempted(self.name, away)
        if away is not None:
            self._give_up(batch, results, away)
            return
        self._writing = 0
        answer(batch, results)
        if len(batch) >= COMPANY:
            self._gather(len(batch), min(took, GATHER_SECONDS))

    def _gather(self, count: int, seconds: float) -> None:
        """Give the next batch until it has `count` items, but no longer than `seconds`."""
        with self._wake:
            self._enough = count
            self._wake.wait_for(lambda: self._closing or len(self._waiting) >= count, seconds)
            self._enough = 1

    def _fail(self, batch: Sequence[Job[Item, Result]], error: BaseException) -> None:
        log.error("%s: the writer broke off", self.name, exc_info=error)
        failure = RuntimeError(f"The {self.name} broke off: {type(error).__name__}.")
        failure.__cause__ = error
        self._writing = 0
        answer(batch, [failure] * len(batch))

    def _give_up(
        self,
        batch: Sequence[Job[Item, Result]],
        results: Sequence[Result | Exception],
        away: DatabaseAway,
    ) -> None:
        """Answer those of a batch that the database did not take, and all who wait behind it:
        they would fare alike, and each batch would wait anew. Keep what must be written."""
        with self._wake:
            behind = list(self._waiting)
            self._waiting.clear()
            untried = self._untried(away)
            outcomes = [*zip(batch, results, strict=True), *((job, untried) for job in behind)]
            if not self._closing:
                self._waiting.extend(job for job, result in outcomes if _is_kept(job, result))
                outcomes = [pair for pair in outcomes if not _is_kept(*pair)]
            self._writing = 0
        answer([job for job, _ in outcomes], [result for _, result in outcomes])
        with self._wake:
            if self._waiting:
                # Nothing but these is worth a try now, and their time is not pressing.
                self._wake.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _take(self) -> list[Job[Item, Result]]:
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
        except UNSERVED as error:
            # Gone, full, locked or read-only: item by item would fail alike, and wait each time.
            # A connection that is broken would fail for ever; a new one is made by the next use.
            connection.close()
            return [self._away(error) for _ in items]
        except OvaraError as error:
            return [error] * len(items)
        except Exception as error:
            log.exception("%s: a batch of %d failed", self.name, len(items))
            if len(items) == 1:
                return [error]
        results: list[Result | Exception] = []
        for item in items:
            last = results[-1] if results else None
            if isinstance(last, DatabaseAway):
                results.append(self._untried(last))
            else:
                results += self._write_batch([item])
        return results

    def _write_once(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        self._health.attempting(self.name)
        results = self._write(items)
        if len(results) != len(items):
            raise RuntimeError(f"{self.name}: {len(results)} results for {len(items)} items")
        return results

    def _untried(self, away: DatabaseAway) -> DatabaseAway:
        """For what is not even tried, since it would fare like the others."""
        text = f"The {self.name} can't reach the database. Nothing was stored; try again."
        untried = DatabaseAway(text, is_certain=True)
        untried.__cause__ = away.__cause__
        return untried

    def _away(self, error: Exception) -> DatabaseAway:
        # A file has no connection that could be lost between the commit and its answer.
        is_certain = connection.vendor == "sqlite"
        outcome = "Nothing was stored" if is_certain else "It may have been stored all the same"
        text = f"The {self.name} can't reach the database. {outcome}; try again."
        away = DatabaseAway(text, is_certain=is_certain)
        away.__cause__ = error
        return away


def _is_kept(job: Job[Any, Any], result: object) -> bool:
    return job.insists and isinstance(result, DatabaseAway)

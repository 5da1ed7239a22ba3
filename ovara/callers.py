"""Who waits for an item of a group commit: a coroutine of some loop, or a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Job(Generic[Item, Result]):
    """An item and who waits for it: a loop's future, or a thread's where `loop` is None."""

    __slots__ = ("future", "insists", "item", "loop")

    def __init__(
        self,
        item: Item,
        future: asyncio.Future[Result] | Future[Result],
        loop: asyncio.AbstractEventLoop | None,
        insists: bool,
    ) -> None:
        self.item = item
        self.future = future
        self.loop = loop
        self.insists = insists


def answer(batch: Sequence[Job[Item, Result]], results: Sequence[Result | Exception]) -> None:
    """Resolve every future; one wake-up for each loop, however many wait there."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job[Item, Result], Result | Exception]]]
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
    answers: Sequence[tuple[Job[Item, Result], Result | Exception]],
) -> None:
    for job, result in answers:
        _resolve(job, result)


def _resolve(job: Job[Item, Result], result: Result | Exception) -> None:
    # A caller that was cancelled hears of nothing any more.
    with contextlib.suppress(asyncio.InvalidStateError, concurrent.futures.InvalidStateError):
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)

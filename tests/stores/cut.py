"""A process that is killed between two writes of a batch, on MongoDB, in the test's own process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ovara.mongo.engine.collection import Collection


class Cut(BaseException):
    """As by SIGKILL, no code of ours goes on behind it: nothing in the application catches it."""


@contextmanager
def cut_off_after(writes: int) -> Iterator[None]:
    """Let so many writes through, each inserted row and each update or deletion as one; then, or at
    the end, everything stops.

    An insert of several rows stops in the midst of them, as it does where the server is told to
    keep their order.
    """
    left = writes
    insert_many, update_many, delete_many = (
        Collection.insert_many,
        Collection.update_many,
        Collection.delete_many,
    )

    def spend(count: int = 1) -> None:
        nonlocal left
        if left < count:
            raise Cut
        left -= count

    def insert(self: Collection, rows: Iterable[Any], *args: Any, **options: Any) -> Any:
        assert options.get("ordered", True), "rows in no order: any of them may be missing"
        rows = list(rows)
        if len(rows) > left > 0:
            insert_many(self, rows[:left], *args, **options)
        spend(len(rows))
        return insert_many(self, rows, *args, **options)

    def update(self: Collection, *args: Any, **options: Any) -> Any:
        spend()
        return update_many(self, *args, **options)

    def delete(self: Collection, *args: Any, **options: Any) -> Any:
        spend()
        return delete_many(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch, suppress(Cut):
        patch.setattr(Collection, "insert_many", insert)
        patch.setattr(Collection, "update_many", update)
        patch.setattr(Collection, "delete_many", delete)
        yield
        assert left == 0, f"{left} writes fewer than there were to be"

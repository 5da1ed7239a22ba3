"""What another node does at the worst moment: between two statements of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from ovara.mongo.engine.collection import Collection


@contextlib.contextmanager
def calling(act: Callable[[], None], before: str, table: str) -> Iterator[None]:
    """Call `act` before each "DELETE" or "UPDATE" of that table; fail where none came."""
    acted: list[str] = []

    def come() -> None:
        acted.append(before)
        act()

    def execute(run: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(before) and table in sql:
            come()
        return run(sql, *rest)

    if connection.vendor != "mongodb":
        with connection.execute_wrapper(execute):
            yield
        assert acted, f"no {before} of {table} came"
        return
    # There a statement is a method.
    name = {"DELETE": "delete_many", "UPDATE": "update_many"}[before]
    run = getattr(Collection, name)

    def call(self: Collection, *args: Any, **options: Any) -> Any:
        if self.name == table:
            come()
        return run(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Collection, name, call)
        yield
    assert acted, f"no {before} of {table} came"


def once(act: Callable[[], object]) -> Callable[[], None]:
    """`act` the first time, and nothing later: what it writes is a statement as well."""
    left = [act]

    def act_once() -> None:
        if left:
            left.pop()()

    return act_once

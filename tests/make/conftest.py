"""What the tests of the Makefile's targets share: a checkout whose path has a space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.support.checkout import MakeRun, copy_checkout
from tests.support.database import Database
from tests.support.stores import kind_of_the_run

Run = Callable[..., MakeRun]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("source") / "a b")


@pytest.fixture
def make_run(source: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Run]:
    """`make_run(PORT="…")`: not started yet; killed after the test. Each test has new data: by
    default in the checkout's own SQLite, or an empty database of the run's store."""
    runs: list[MakeRun] = []
    where: dict[str, str] = {}
    if kind_of_the_run() != "sqlite":
        where = Database.empty(tmp_path, django_db_blocker).environment

    def make(**environment: str) -> MakeRun:
        default = {} if "DATABASE_URL" in environment else where
        runs.append(MakeRun(source, **(default | environment)))
        return runs[-1]

    yield make
    for run in runs:
        run.kill()
    MakeRun(source).reset()

"""Every program says at its start which variable names a database that can't be used, and why.

Never with the password. What makes an address wrong is listed in tests/connecting/test_start.py,
and for MongoDB in test_start_mongodb.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.environment import ROOT, clean_environment, free_port
from tests.support.process import ChildProcess
from tests.support.stores import STRANGER, SecantusDB, current_store, kind_of_the_run

PASSWORD = "s3cr-et"
PROGRAMS = {
    "make run": ["-m", "scripts.run"],
    "migrate": ["manage.py", "migrate"],
    "server": ["-m", "ovara.server"],
}
every_program = pytest.mark.parametrize("program", PROGRAMS)

Variables = dict[str, str]
Starts = Callable[[str, Variables], ChildProcess]


def postgresql(*, user: str = "ovara", port: int | str = "", name: str = "postgres") -> Variables:
    port = port or current_store().port or ""
    return {"DATABASE_URL": f"postgres://{user}:{PASSWORD}@127.0.0.1:{port}/{name}"}


def mongodb(*, port: int | str = "") -> Variables:
    port = port or current_store().port or ""
    uri = f"mongodb://ovara:{PASSWORD}@127.0.0.1:{port}/"
    return {"MONGODB_URI": uri, "MONGODB_DB_NAME": "ovara"}


# By the run's kind of store: an address that is none, and one where nobody listens.
UNREADABLE: dict[str, Callable[[], Variables]] = {
    "postgresql": lambda: postgresql(port="port"),
    "mongodb": lambda: mongodb(port="port"),
}
AWAY: dict[str, Callable[[], Variables]] = {
    "postgresql": lambda: postgresql(port=free_port()),
    "mongodb": lambda: mongodb(port=free_port()),
}


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    """`starts(program, variables)`: started, with nothing else wrong in its environment."""

    def start(program: str, variables: Variables) -> ChildProcess:
        process = ChildProcess(
            [sys.executable, *PROGRAMS[program]],
            env=clean_environment(SECRET_KEY="k" * 50, PORT=str(free_port()), **variables),
            cwd=ROOT,
            log_path=tmp_path / "log",
        )
        process.launch()
        return process

    return start


def last_words(process: ChildProcess) -> str:
    """What a program says that ends for it."""
    assert process.wait(timeout=30) not in (0, None)
    return without_secrets(process.logs())


def complaint(process: ChildProcess) -> str:
    """The same of one that can't reach its database. A server goes on, to wait for it."""
    if "ovara.server" not in process.command:
        return last_words(process)
    try:
        line = process.wait_for_line("ERROR connections node_not_started .*", timeout=30)
        assert process.is_running
    finally:
        process.kill()
    without_secrets(process.logs())
    return line.group().replace("'", '"')


def without_secrets(said: str) -> str:
    assert PASSWORD not in said
    assert "Traceback" not in said
    return said


@every_program
def test_two_databases_at_once_are_refused(starts: Starts, program: str) -> None:
    both = {
        "DATABASE_URL": f"postgres://ovara:{PASSWORD}@127.0.0.1/ovara",
        "MONGODB_URI": f"mongodb://ovara:{PASSWORD}@127.0.0.1/ovara",
    }
    said = last_words(starts(program, both))
    assert "MONGODB_URI and DATABASE_URL are both set: unset one, there is one database." in said


@pytest.mark.stores(*UNREADABLE)
@every_program
def test_an_address_that_is_none_is_refused(starts: Starts, program: str) -> None:
    variables = UNREADABLE[kind_of_the_run()]()
    assert f"{next(iter(variables))} cannot be read: write " in last_words(
        starts(program, variables)
    )


@pytest.mark.stores(*AWAY)
@every_program
def test_a_server_that_is_away_is_named(starts: Starts, program: str) -> None:
    variables = AWAY[kind_of_the_run()]()
    said = complaint(starts(program, variables))
    assert f"The database that {next(iter(variables))} names cannot be used: " in said
    assert "refused" in said


@pytest.mark.stores("postgresql")  # MongoDB makes what is not there
@every_program
def test_a_database_that_is_not_there_is_named(starts: Starts, program: str) -> None:
    said = complaint(starts(program, postgresql(name="not_there")))
    assert "The database that DATABASE_URL names cannot be used: " in said
    assert 'database "not_there" does not exist' in said


@pytest.mark.stores("postgresql")
@every_program
def test_a_wrong_password_is_said_and_not_repeated(starts: Starts, program: str) -> None:
    said = complaint(starts(program, postgresql(user=STRANGER)))
    assert "The database that DATABASE_URL names cannot be used: " in said
    assert f'password authentication failed for user "{STRANGER}"' in said


@pytest.mark.stores("mongodb")
@every_program
def test_a_mongodb_that_does_not_let_us_in_is_named(starts: Starts, program: str) -> None:
    # Nobody has an account there.
    store = SecantusDB("--auth")
    try:
        store.launch()
        said = complaint(starts(program, mongodb(port=store.port)))
    finally:
        store.stop()
    assert "The database that MONGODB_URI names cannot be used: " in said
    assert "authentication failed" in said.lower()

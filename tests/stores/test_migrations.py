"""Django's own commands have nothing to complain about, on whichever store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.support.database import Database
from tests.support.environment import ROOT, server_environment

MIGRATE = ["migrate", "--verbosity", "1"]
CHECK = ["check", "--database", "default"]
MAKEMIGRATIONS = ["makemigrations", "--check", "--dry-run"]


def manage(database: Database, arguments: list[str]) -> str:
    """What the command prints; it succeeds, and warns of nothing."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=server_environment(database.environment, {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_an_empty_database_is_migrated_and_then_there_is_nothing_left_to_do(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    database = Database.empty(tmp_path / "db.sqlite3", django_db_blocker)
    first = manage(database, MIGRATE)
    for app in ("accounts", "admin", "auth", "connections", "contenttypes", "sessions"):
        assert f"Applying {app}." in first
    assert "Applying sessions_app." in first
    assert "No migrations to apply." in manage(database, MIGRATE)


@pytest.mark.parametrize(
    ("arguments", "says"), [(CHECK, "no issues"), (MAKEMIGRATIONS, "No changes detected")]
)
def test_checks_are_clean(database_template: Database, arguments: list[str], says: str) -> None:
    assert says in manage(database_template, arguments)

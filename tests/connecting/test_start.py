"""What is wrong at the start is said in one sentence, which names the variable and no secret."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import DjangoDbBlocker

from connections.models import Node
from ovara import environment
from ovara.accounts.models import User
from ovara.accounts.tokens import AccessToken
from ovara.database_settings import database_settings
from tests.connecting.conftest import Connect, until
from tests.support.database import Database
from tests.support.environment import ROOT, clean_environment, free_port
from tests.support.server import KINDS, ServerProcess, _command

PASSWORD = "s3cr-et"
BAD_SETTINGS = 3


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a program that shall end by itself, with nothing in its environment but these."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fit(tmp_path: Path, **variables: str) -> dict[str, str]:
    """An environment with nothing wrong but `variables`."""
    database = f"sqlite:///{tmp_path}/db.sqlite3"
    return {"SECRET_KEY": "k" * 50, "DATABASE_URL": database} | variables


@pytest.mark.storeless
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_with_bad_settings_ends_with_one_sentence(tmp_path: Path, kind: str) -> None:
    done = run(_command(kind, free_port())[1:], **fit(tmp_path, OVARA_FRAME_BURTS="5"))
    assert done.returncode == BAD_SETTINGS
    assert done.stderr.strip() == (
        "Ovara cannot start. Unknown setting OVARA_FRAME_BURTS in the environment. "
        "Did you mean OVARA_FRAME_BURST? docs/operations.md lists every setting."
    )


@pytest.mark.storeless
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"OVARA_OUTBOX_MAX_BYTES": "big"}, "OVARA_OUTBOX_MAX_BYTES is 'big'"),
        ({"DATABASE_URL": f"mysql://ovara:{PASSWORD}@db/ovara"}, "DATABASE_URL has the scheme"),
        ({"REDIS_URL": f"http://:{PASSWORD}@redis:6379"}, "REDIS_URL must be"),
    ],
)
def test_whatever_is_wrong_a_server_ends_with_one_sentence(
    tmp_path: Path, variables: dict[str, str], says: str
) -> None:
    done = run(_command("uvicorn", free_port())[1:], **fit(tmp_path, **variables))
    assert done.returncode == BAD_SETTINGS
    assert done.stderr.startswith("Ovara cannot start. " + says)
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.storeless
@pytest.mark.parametrize(
    "command",
    [
        ["uvicorn", "--workers", "2", "ovara.asgi:application"],
        ["uvicorn", "ovara.asgi:application", "--workers=3"],
        ["ovara.server", "--workers", "2"],
        ["ovara.server"],
    ],
)
def test_several_workers_without_redis_are_refused_and_not_tried_again(
    tmp_path: Path, command: list[str]
) -> None:
    variables = fit(tmp_path, PORT=str(free_port()))
    if command[0] == "uvicorn":
        command = [*command, "--port", variables["PORT"]]
    if len(command) == 1:
        variables["WEB_CONCURRENCY"] = "2"
    done = run(["-m", *command], **variables)
    assert "workers without REDIS_URL could not reach each other's connections" in done.stderr
    assert done.stderr.count("Ovara cannot start.") <= 3, "it was tried again"
    assert "Traceback" not in done.stderr


@pytest.mark.storeless
@pytest.mark.parametrize(
    ("arguments", "web_concurrency", "workers"),
    [
        (["/venv/bin/uvicorn", "app"], None, 1),
        (["/venv/bin/uvicorn", "app", "--workers", "4"], None, 4),
        (["/venv/bin/uvicorn", "app", "--workers=4"], None, 4),
        (["/venv/bin/uvicorn", "app"], "4", 4),
        (["/venv/bin/uvicorn", "app", "--workers", "1"], "4", 1),
        (["/lib/uvicorn/__main__.py", "app"], "2", 2),
        (["/lib/ovara/server/__main__.py"], "2", 2),
        (["/venv/bin/gunicorn", "-w", "3", "app"], None, 3),
        (["/venv/bin/daphne", "app"], "4", 1),
        (["manage.py", "shell"], "4", 1),
        ([], "4", 1),
    ],
)
def test_workers_are_counted_for_servers_that_have_them(
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    web_concurrency: str | None,
    workers: int,
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    if web_concurrency:
        monkeypatch.setenv("WEB_CONCURRENCY", web_concurrency)
    if workers == 1:
        environment.refuse_workers_without_redis([])
    else:
        with pytest.raises(ImproperlyConfigured, match=f"{workers} workers without REDIS_URL"):
            environment.refuse_workers_without_redis([])
    environment.refuse_workers_without_redis(["redis://127.0.0.1"])


@pytest.mark.storeless
@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        PASSWORD,
        f"mysql://ovara:{PASSWORD}@db/ovara",
        f"postgres://ovara:{PASSWORD}@db",
        f"postgres://ovara:{PASSWORD}@db/",
        f"postgres://ovara:{PASSWORD}/x@db:5432/ovara",
        f"postgres://ovara:12/{PASSWORD}@db:5432/ovara",
        f"postgres://ovara:{PASSWORD}@db:port/ovara",
        f"postgres://ovara:{PASSWORD}@[db/ovara",
        f"//ovara:{PASSWORD}@db/ovara",
        "sqlite:///",
        "sqlite:////no/such/folder/db.sqlite3",
    ],
)
def test_a_wrong_database_url_is_refused_and_never_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured) as caught:
        database_settings(tmp_path)
    assert "DATABASE_URL" in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_a_database_that_is_away_is_said_and_the_server_waits_for_it(
    tmp_path: Path, connect: Connect, database_template: Database
) -> None:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    variable, scheme = "DATABASE_URL", "postgres"
    if database.store.kind.startswith("mongodb"):
        variable, scheme = "MONGODB_URI", "mongodb"
    url = f"{scheme}://ovara:{PASSWORD}@127.0.0.1:{free_port()}/ovara"
    server = ServerProcess(database, folder=tmp_path, kind="uvicorn", environment={variable: url})
    server.start()
    try:
        line = await server.wait_for_log("ERROR connections node_not_started", timeout=10)
        assert variable in line.string
        async with httpx.AsyncClient(base_url=server.url, timeout=15) as http:
            began_at = time.monotonic()
            assert (await http.get("/healthz")).status_code == 200
            # A balancer asks it. MongoDB's driver looks for its server for 5 s.
            assert time.monotonic() - began_at < 4
            answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["failed"]) == (503, ["database"])
        client = await connect(server, token=_some_token())
        end = await client.closed()
        assert end.code == 4413
        assert end.disconnect is not None
        assert end.disconnect["reconnect"] is True
        assert "127.0.0.1" not in end.disconnect["reason"], "that is for the log"
        assert await asyncio.to_thread(server.terminate) == 0
    finally:
        server.kill()
    assert PASSWORD not in server.logs()


def _some_token() -> str:
    return str(AccessToken.for_user(User(username="not stored here")))


async def test_a_server_without_tables_says_to_migrate_and_works_when_that_is_done(
    tmp_path: Path, connect: Connect, django_db_blocker: DjangoDbBlocker
) -> None:
    database = Database.empty(tmp_path / "db.sqlite3", django_db_blocker)
    server = ServerProcess(database, folder=tmp_path)
    server.start()
    try:
        line = await server.wait_for_log("ERROR connections node_not_started", timeout=15)
        assert "migrate" in line.string
        migrated = await asyncio.to_thread(server.manage, "migrate", "--verbosity", "0")
        assert migrated.returncode == 0, migrated.stderr
        assert (await connect(server, server.make_user())).welcome["authenticated"] is True
    finally:
        server.kill()


@pytest.mark.storeless
@pytest.mark.parametrize("kind", KINDS)
async def test_a_port_in_use_is_said_and_the_server_that_uses_it_feels_nothing(
    server: ServerProcess, connect: Connect, kind: str
) -> None:
    client = await connect(server, server.make_user())
    done = await asyncio.to_thread(
        subprocess.run,
        _command(kind, server.port),
        cwd=ROOT,
        env=server.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert os.strerror(errno.EADDRINUSE).lower() in output.lower()
    assert str(server.port) in output
    assert (await client.request({"type": "ping"}))["type"] == "pong"

    def live_nodes(alias: str) -> int:
        return Node.objects.using(alias).filter(stopped_at=None).count()

    await until(lambda: server.database.run(live_nodes) == 1)

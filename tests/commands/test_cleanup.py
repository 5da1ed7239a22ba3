"""`manage.py cleanup` as a second process beside a running server, and the node's own cleanup."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from connections.models import Client, Connection, Node
from ovara.accounts.models import RevokedToken
from ovara.ids import new_id
from ovara.times import now
from sessions_app.models import Session
from tests.conftest import SHARED_SERVER_SETTINGS, Connect, ServerWith
from tests.support.client import WireClient
from tests.support.database import Account
from tests.support.environment import ROOT, server_environment
from tests.support.in_process import until
from tests.support.process import ChildProcess
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess

# Who is silent for 1.5 s is inactive; the server says every 0.2 s who was heard.
INACTIVE_SECONDS = 1.5
MINUTES = str(INACTIVE_SECONDS / 60)
QUICK = SHARED_SERVER_SETTINGS | {
    "OVARA_NODE_HEARTBEAT_SECONDS": "0.2",
    "OVARA_NODE_LAPSE_SECONDS": "2",
}


@contextlib.asynccontextmanager
async def repeating(client: WireClient, frame: dict[str, Any]) -> AsyncIterator[None]:
    """Meanwhile `client` sends `frame` again and again."""

    async def repeat() -> None:
        while True:
            await client.send(frame)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()


async def cleanup(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command; its exit code must be 0."""
    process = await asyncio.to_thread(server.manage, "cleanup", *arguments)
    assert process.returncode == 0, process.stdout + process.stderr
    return process


def counts(process: subprocess.CompletedProcess[str]) -> list[int]:
    """inactive, lost, purged, sessions, tokens, as the command printed them."""
    return [int(line.rpartition(": ")[2]) for line in process.stdout.splitlines()[-5:]]


@pytest.fixture
def quick_server(server_with: ServerWith) -> ServerProcess:
    return server_with(**QUICK)


async def test_the_inactive_are_closed_from_another_process_and_the_active_are_not(
    quick_server: ServerProcess, make_user: Callable[..., Account], connect: Connect
) -> None:
    silent = await connect(quick_server, make_user(quick_server))
    active = await connect(quick_server, make_user(quick_server))
    # A ping says that the line is alive, not that somebody is there.
    async with (
        repeating(silent, {"type": "ping"}),
        repeating(active, {"type": "away", "is_away": False}),
    ):
        await asyncio.sleep(INACTIVE_SECONDS + 0.3)
        dry = await cleanup(quick_server, "--max-inactive-minutes", MINUTES, "--dry-run")
        assert "Dry run: nothing was changed." in dry.stdout
        assert counts(dry) == [1, 0, 0, 0, 0]
        process = await cleanup(quick_server, "--max-inactive-minutes", MINUTES)
        closed = await silent.closed()
        await active.barrier()
    assert counts(process) == [1, 0, 0, 0, 0]
    assert f"inactive for {float(MINUTES):g} minutes, closed: 1" in process.stdout
    assert closed.code == 4408
    assert closed.disconnect is not None
    assert closed.disconnect["reconnect"] is True
    assert active.socket.close_code is None


async def test_with_nothing_to_do_it_says_so_and_succeeds(server: ServerProcess) -> None:
    process = await cleanup(server, "--max-inactive-minutes", "525600")
    assert counts(process)[0] == 0
    assert "Dry run" not in process.stdout
    assert process.stderr == ""


async def test_it_goes_by_the_database_where_redis_is_away(
    redis_server: RedisServer,
    server_with: ServerWith,
    make_user: Callable[..., Account],
    connect: Connect,
) -> None:
    server = server_with(**QUICK, REDIS_URL=redis_server.url)
    silent = await connect(server, make_user(server))
    redis_server.kill()
    await asyncio.sleep(INACTIVE_SECONDS)
    process = await cleanup(server, "--max-inactive-minutes", MINUTES)
    assert counts(process)[0] == 1
    assert (await silent.closed()).code == 4408


async def test_what_a_dead_server_left_is_closed(
    quick_server: ServerProcess,
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Awaitable[str]],
    connect: Connect,
) -> None:
    account = make_user(quick_server)
    conversation_id = await make_conversation(quick_server, account)
    client = await connect(quick_server, account)
    await client.join(conversation_id)
    quick_server.kill()
    # It may only be slow, until its heartbeat is older than the lapse.
    await asyncio.sleep(2.3)
    assert counts(await cleanup(quick_server, "--dry-run")) == [0, 1, 0, 0, 0]
    assert counts(await cleanup(quick_server)) == [0, 1, 0, 0, 0]
    assert counts(await cleanup(quick_server)) == [0, 0, 0, 0, 0]

    def row(alias: str) -> Connection:
        return Connection.objects.using(alias).get(pk=client.connection_id)

    closed = quick_server.database.run(row)
    assert closed.disconnected_at is not None
    assert (closed.close_code, closed.close_reason) == (1006, "its node died")


async def test_what_is_past_its_time_is_deleted_and_nothing_else(server_with: ServerWith) -> None:
    server = server_with()
    account = server.make_user()
    server.database.run(lambda alias: make_old_rows(alias, account))
    assert counts(await cleanup(server, "--dry-run")) == [0, 0, 2, 1, 1]
    assert server.database.run(rows_left) == (4, 2, 2, 3)
    process = await cleanup(server)
    assert counts(process) == [0, 0, 2, 1, 1]
    assert "over 7 days ago, deleted: 2" in process.stdout
    # The old node goes with its last connection; the server's own stays.
    assert server.database.run(rows_left) == (2, 1, 1, 2)


def make_old_rows(alias: str, account: Account) -> None:
    """Two connections that closed 8 days ago, on a node of that time; and one of each other kind,
    each beside one whose time has not come."""
    old, recent, later = (now() + timedelta(days=days) for days in (-8, -6, 1))
    client = Client.objects.using(alias).create(user_id=account.user.pk)
    old_node = Node.objects.using(alias).create(
        hostname="old", pid=1, last_heartbeat=old, stopped_at=old
    )
    recent_node = Node.objects.using(alias).create(
        hostname="recent", pid=1, last_heartbeat=recent, stopped_at=recent
    )
    for node, moment, count in ((old_node, old, 2), (recent_node, recent, 2)):
        Connection.objects.using(alias).bulk_create(
            Connection(node_id=node.pk, client_id=client.pk, disconnected_at=moment)
            for _ in range(count)
        )
    for moment in (old, later):
        Session.objects.using(alias).create(
            client_id=new_id(), user_id=account.user.pk, expires_at=moment
        )
        RevokedToken.objects.using(alias).bulk_create(
            [RevokedToken(jti=str(new_id()), expires_at=moment)]
        )


def rows_left(alias: str) -> tuple[int, ...]:
    """How many connections, sessions, revoked tokens, nodes."""
    models: tuple[Any, ...] = (Connection, Session, RevokedToken, Node)
    return tuple(model._default_manager.using(alias).count() for model in models)


@pytest.mark.parametrize("number", ["0", "-1", "nan", "inf", "525601", "soon", ""])
@pytest.mark.django_db
def test_a_number_that_makes_no_sense_is_a_command_error(number: str) -> None:
    with pytest.raises(CommandError, match=r"max.inactive.minutes"):
        call_command("cleanup", f"--max-inactive-minutes={number}")


async def test_a_wrong_number_is_said_in_one_line(server: ServerProcess) -> None:
    process = await asyncio.to_thread(server.manage, "cleanup", "--max-inactive-minutes", "0")
    assert process.returncode == 1
    assert process.stderr.splitlines() == [
        "CommandError: max_inactive_minutes is 0: it must be over 0 and at most 525600."
    ]


async def test_a_database_without_tables_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    command = ChildProcess(
        [sys.executable, "manage.py", "cleanup"],
        env=server_environment(f"sqlite:///{tmp_path}/empty.sqlite3", {}),
        cwd=ROOT,
        log_path=tmp_path / "log",
    )
    command.launch()
    assert await asyncio.to_thread(command.wait) == 1
    assert "CommandError" in command.logs()
    assert "Traceback" not in command.logs()


async def test_every_node_cleans_up_by_itself(
    server_with: ServerWith, make_user: Callable[..., Account], connect: Connect
) -> None:
    server = server_with(
        **QUICK,
        OVARA_CLEANUP_INTERVAL_SECONDS="0.2",
        OVARA_CLEANUP_INACTIVE_MINUTES=MINUTES,
        OVARA_CONNECTION_RETENTION_DAYS=str(1 / 86_400),
        OVARA_SESSION_TTL_DAYS=str(1 / 86_400),
    )
    account = make_user(server)

    def make(alias: str) -> None:
        # In one transaction, or the server takes away a node that has no connections yet.
        with transaction.atomic(using=alias):
            make_old_rows(alias, account)

    server.database.run(make)
    silent = await connect(server, account)
    active = await connect(server, make_user(server))
    async with (
        repeating(silent, {"type": "ping"}),
        repeating(active, {"type": "away", "is_away": False}),
    ):
        closed = await silent.closed(timeout=INACTIVE_SECONDS + 3)
        assert closed.code == 4408

        # Of silent's row, and of all that was old, nothing is left.
        await until(lambda: server.database.run(connection_ids) == [active.connection_id])
        await active.barrier()


def connection_ids(alias: str) -> list[str]:
    return [str(pk) for pk in Connection.objects.using(alias).values_list("pk", flat=True)]


def test_the_help_names_unit_and_default(server: ServerProcess) -> None:
    process = server.manage("cleanup", "--help")
    assert "--max-inactive-minutes MINUTES" in process.stdout
    assert "default: 30" in process.stdout
    assert "--dry-run" in process.stdout

"""The servers that Ovara runs on, as processes, and what the test harness itself promises."""

from __future__ import annotations

import itertools
import platform
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from ovara.memory import YOUNG_OBJECTS
from tests.support.client import WireClient
from tests.support.database import Account, Database
from tests.support.environment import ROOT
from tests.support.server import HOST, KINDS, ServerProcess

pytestmark = pytest.mark.storeless

# HEAP_MAX_SIZE of glibc's malloc/arena.c, where pages are of 4 KiB.
HEAP_BYTES = 64 * 1024 * 1024

MakeUser = Callable[..., Account]
Connect = Callable[..., Awaitable[WireClient]]
ServerWith = Callable[..., ServerProcess]
MakeConversation = Callable[..., Awaitable[str]]


async def test_a_message_goes_from_one_to_the_other_on_every_kind_of_server(
    any_server: ServerProcess,
    make_user: MakeUser,
    make_conversation: MakeConversation,
    connect: Connect,
) -> None:
    alice, bob = make_user(any_server), make_user(any_server)
    conversation_id = await make_conversation(any_server, alice, bob)
    sender, receiver = await connect(any_server, alice), await connect(any_server, bob)
    await sender.join(conversation_id)
    await receiver.join(conversation_id)
    stored = await sender.message(conversation_id, "hello")
    frame = await receiver.expect("message", conversation_id=conversation_id)
    assert frame["message"] == stored
    assert await sender.pending("message") == []


async def test_runserver_serves_websockets(
    database_template: Database, tmp_path: Path, connect: Connect
) -> None:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    server = ServerProcess(database, folder=tmp_path)
    server.command = [
        *(sys.executable, "manage.py", "runserver"),
        *("--noreload", "--skip-checks", f"{HOST}:{server.port}"),
    ]
    server.start()
    try:
        client = await connect(server, server.make_user())
        assert client.welcome["authenticated"] is True
    finally:
        server.kill()


@pytest.mark.parametrize("package", ["twisted", "channels_redis"])
def test_what_this_server_does_not_need_is_not_loaded(server: ServerProcess, package: str) -> None:
    code = f"import sys, ovara.asgi; sys.exit({package!r} in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=server.env, check=False)
    assert loaded.returncode == 0


def test_a_server_counts_what_its_start_made_as_here_to_stay(server: ServerProcess) -> None:
    code = "import gc, ovara.asgi; print(gc.get_freeze_count(), gc.get_threshold()[0])"
    told = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=server.env)
    frozen, threshold = map(int, told.split())
    assert frozen > 50_000
    assert threshold == YOUNG_OBJECTS


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such heaps")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_threads_of_a_server_share_one_heap(
    server_with: ServerWith,
    connect: Connect,
    make_conversation: MakeConversation,
    kind: str,
) -> None:
    server = server_with(kind=kind)
    alice = server.make_user()
    talk = await make_conversation(server, alice)
    client = await connect(server, alice)
    await client.join(talk)
    await client.message(talk, "written by a thread")
    assert threads_of(server) > 2
    assert heaps_of_threads(server) == []


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such heaps")
async def test_an_operator_can_give_the_threads_heaps_of_their_own(
    server_with: ServerWith, connect: Connect
) -> None:
    server = server_with(MALLOC_ARENA_MAX="4")
    await connect(server, server.make_user())
    assert 1 <= len(heaps_of_threads(server)) <= 3


def threads_of(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


def heaps_of_threads(server: ServerProcess) -> list[str]:
    """glibc's heaps but the first: 64 MiB of addresses each, of which the beginning is in use."""
    rows = [line.split() for line in Path(f"/proc/{server.pid}/maps").read_text().splitlines()]
    spans = [(*(int(end, 16) for end in row[0].split("-")), row[1], row[4]) for row in rows]
    return [
        hex(first)
        for (first, middle, mode, inode), (start, end, rest, _) in itertools.pairwise(spans)
        if (mode, rest, inode) == ("rw-p", "---p", "0")
        and middle == start
        and first % HEAP_BYTES == 0
        and end - first == HEAP_BYTES
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_sigterm_drains_and_ends_the_server(
    server_with: ServerWith, connect: Connect, kind: str
) -> None:
    server = server_with(kind=kind)
    client = await connect(server, server.make_user())
    server.signal(signal.SIGTERM)
    code, _, disconnect = await client.closed(timeout=10)
    assert code == 4412
    assert disconnect is not None
    assert disconnect["reconnect"] is True
    # uvicorn ends by the signal itself, once it has drained.
    assert server.wait() in {0, -signal.SIGTERM}
    assert "Traceback" not in server.logs()


async def test_a_killed_server_comes_back_on_its_port_with_its_data(
    server_with: ServerWith, connect: Connect, make_conversation: MakeConversation
) -> None:
    server = server_with()
    alice = server.make_user()
    conversation_id = await make_conversation(server, alice)
    client = await connect(server, alice)
    stored = await client.message(conversation_id, "before the crash")
    server.kill()
    assert (await client.closed()).code == 1006
    server.restart()
    again = await connect(server, alice, client_id=client.client_id)
    assert (await again.join(conversation_id, since=0))["messages"] == [stored]
    assert again.session_id == client.session_id


async def test_every_way_to_bring_a_token_is_at_hand(
    shared_server_with: ServerWith, connect: Connect
) -> None:
    server = shared_server_with(OVARA_ALLOW_QUERY_TOKEN="on")
    alice = server.make_user()
    for via in ("header", "subprotocol", "query", "frame"):
        client = await connect(server, alice, via=via)
        assert client.welcome["user"] == alice.as_json, via
        assert client.client_id, via


@pytest.mark.parametrize("kind", KINDS)
async def test_no_token_reaches_the_output_of_the_server(
    server_with: ServerWith, connect: Connect, kind: str
) -> None:
    server = server_with(kind=kind, OVARA_ALLOW_QUERY_TOKEN="on")
    alice = server.make_user()
    token = alice.token()
    client = await connect(server, alice, token=token, via="query")
    await client.close()
    await server.wait_for_log(f"closed .*connection={client.connection_id}")
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        # No handshake: the server's own access log has this one.
        await http.get("/ws/", params={"token": token})
    assert server.terminate() in {0, -signal.SIGTERM}
    assert token not in server.logs()
    assert token.rpartition(".")[2] not in server.logs()


async def test_logs_can_be_waited_for(server: ServerProcess, connect: Connect) -> None:
    mark = server.log_mark()
    client = await connect(server, server.make_user())
    await server.wait_for_log(f"connection={client.connection_id}", since=mark)


async def test_an_account_signs_in_with_the_password_of_the_tests(
    server: ServerProcess, make_user: MakeUser, rest: Callable[..., httpx.AsyncClient]
) -> None:
    account = make_user(server)
    answer = await rest(server).post(
        "/api/token/", json={"username": account.username, "password": account.password}
    )
    assert answer.status_code == 200, answer.text
    assert (await rest(server, account).get("/api/conversations")).status_code == 200
    assert (await rest(server).get("/api/conversations")).status_code == 401


def test_commands_run_beside_the_server(server: ServerProcess) -> None:
    done = server.manage("check")
    assert done.returncode == 0, done.stderr

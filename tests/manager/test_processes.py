"""Server code in another process than the server: shells, commands, task queues' workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httpx
import pytest

from tests.conftest import Connect, ServerWith
from tests.support.client import WireClient
from tests.support.database import Account
from tests.support.environment import ROOT
from tests.support.redis_server import RedisServer
from tests.support.server import ServerProcess

SHELL_IMPORT = "from connections.manager import websocket_manager as m; "
# What a task queue's worker is to us: a process with Django set up, whose jobs run in threads.
WORKER = """
import django
django.setup()
from concurrent.futures import ThreadPoolExecutor
from connections.manager import websocket_manager as m
def job(number):
    {job}
with ThreadPoolExecutor(4) as pool:
    list(pool.map(job, range({count})))
"""
TRY_SENDING = """
import django
django.setup()
from connections.manager import websocket_manager as m
for kind, target in {targets!r}.items():
    try:
        getattr(m.sync, "send_to_" + kind)(target, {{"type": "notification"}})
    except Exception as error:
        print(repr(error))
"""
REMOVE = """
import django
django.setup()
from sessions_app.models import Conversation
from sessions_app.services import participant_remove
conversation = Conversation.objects.get(pk={conversation!r})
participant_remove(conversation=conversation, username={username!r})
"""
# Another kind of worker is forked from a parent that has used the manager already.
FORKING_WORKER = """
import django, os, sys
django.setup()
from django.db import connections
from connections.manager import websocket_manager as m
m.sync.post_message({conversation!r}, "from the parent")
connections.close_all()
child = os.fork()
if child == 0:
    m.sync.post_message({conversation!r}, "from the child")
    m.sync.get_connection_stats()
    sys.stdout.flush()
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""
# A server's process may fork too: for a pool of workers that its own code makes.
FORKING_NODE = """
import django, os, sys
django.setup()
from django.db import connections
from connections.manager import websocket_manager as m
from ovara import background
background.run(m.node.ensure_started())
connections.close_all()
child = os.fork()
if child == 0:
    print(m.node.running, flush=True)
    m.sync.post_message({conversation!r}, "from the child")
    os._exit(0)
_, status = os.waitpid(child, 0)
print(m.node.running)
background.run(m.node.stop())
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Talk(NamedTuple):
    """Alice has joined a conversation in which bob, elsewhere, has a part."""

    server: ServerProcess
    alice: WireClient
    bob: WireClient
    conversation_id: str
    account: Account

    def shell(self, code: str) -> subprocess.CompletedProcess[str]:
        """`manage.py shell -c`, with the manager as `m`."""
        return self.server.manage("shell", "-c", SHELL_IMPORT + code)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """A program with the server's environment."""
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=self.server.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def succeeded(process: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert process.returncode == 0, process.stdout + process.stderr
    return process


@pytest.fixture
def make_talk(
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Awaitable[str]],
    connect: Connect,
) -> Callable[[ServerProcess], Awaitable[Talk]]:
    async def make(server: ServerProcess) -> Talk:
        alice, bob = make_user(server), make_user(server)
        conversation_id = await make_conversation(server, alice, bob)
        client = await connect(server, alice)
        await client.join(conversation_id)
        return Talk(server, client, await connect(server, bob), conversation_id, alice)

    return make


@pytest.fixture
async def alone(server: ServerProcess, make_talk: Callable[..., Awaitable[Talk]]) -> Talk:
    """Without Redis: the channel layer is in memory."""
    return await make_talk(server)


@pytest.fixture
async def with_redis(redis_node: ServerProcess, make_talk: Callable[..., Awaitable[Talk]]) -> Talk:
    return await make_talk(redis_node)


# Without Redis.


async def test_sending_from_a_shell_without_redis_says_what_to_set(alone: Talk) -> None:
    targets = {
        "connection": alone.alice.connection_id,
        "client": alone.alice.client_id,
        "user": alone.alice.welcome["user"]["id"],
        "conversation": alone.conversation_id,
    }
    process = succeeded(alone.python(TRY_SENDING.format(targets=targets)))
    errors = process.stdout.splitlines()
    assert len(errors) == 4
    assert all("ChannelLayerNotShared" in error and "REDIS_URL" in error for error in errors)
    assert await alone.alice.pending("notification") == []


async def test_posting_from_a_shell_without_redis_stores_and_says_that_nobody_heard(
    alone: Talk,
) -> None:
    process = succeeded(
        alone.shell(f"print(m.sync.post_message({alone.conversation_id!r}, 'hello').sequence)")
    )
    assert process.stdout.splitlines()[-1] == "1"
    assert "Stored, but not delivered" in process.stderr
    assert "REDIS_URL" in process.stderr
    assert "hello" not in process.stderr
    assert await alone.alice.pending("message") == []
    # The next message shows the gap, and the gap is filled.
    await alone.alice.message(alone.conversation_id, "second")
    history = await alone.alice.request(
        {"type": "history", "conversation_id": alone.conversation_id}
    )
    assert [message["content"] for message in history["messages"]] == ["hello", "second"]


async def test_a_connection_is_ended_from_a_shell_by_the_database_alone(alone: Talk) -> None:
    connection_id = alone.alice.connection_id
    process = succeeded(alone.shell(f"print(m.sync.disconnect({connection_id!r}, reason='out'))"))
    assert process.stdout.splitlines()[-1] == "True"
    closed = await alone.alice.closed()
    assert closed.code == 4510
    assert closed.disconnect is not None and closed.disconnect["reason"] == "out"


@pytest.mark.parametrize("fixture", ["server", "uvicorn_server"])
async def test_a_reason_longer_than_a_close_frame_ends_the_connection_all_the_same(
    fixture: str,
    request: pytest.FixtureRequest,
    make_talk: Callable[..., Awaitable[Talk]],
) -> None:
    talk = await make_talk(request.getfixturevalue(fixture))
    reason = "ü" * 150
    succeeded(talk.shell(f"m.sync.disconnect({talk.alice.connection_id!r}, reason={reason!r})"))
    closed = await talk.alice.closed()
    assert closed.code == 4510
    assert closed.disconnect is not None and closed.disconnect["reason"] == reason


async def test_a_participant_removed_in_a_shell_hears_nothing_more_of_the_conversation(
    alone: Talk,
) -> None:
    await alone.bob.join(alone.conversation_id)
    bob = alone.bob.welcome["user"]["username"]
    code = REMOVE.format(conversation=alone.conversation_id, username=bob)
    succeeded(alone.python(code))
    closed = await alone.bob.closed()
    assert closed.code == 4412
    await alone.alice.message(alone.conversation_id, "in private")
    assert not [frame for frame in alone.bob.frames if frame["type"] == "message"]
    assert alone.alice.socket.close_code is None


async def test_the_statistics_in_a_shell_are_the_servers(alone: Talk) -> None:
    process = succeeded(alone.shell("print(m.sync.get_connection_stats()['nodes'][0]['pid'])"))
    assert process.stdout.splitlines()[-1] == str(alone.server.pid)


async def test_a_workers_threads_post_without_redis(alone: Talk) -> None:
    job = f"m.sync.post_message({alone.conversation_id!r}, str(number))"
    succeeded(alone.python(WORKER.format(job=job, count=20)))
    history = await alone.alice.request(
        {"type": "history", "conversation_id": alone.conversation_id}
    )
    messages = history["messages"]
    assert [message["sequence"] for message in messages] == list(range(1, 21))
    assert sorted(int(message["content"]) for message in messages) == list(range(20))


async def test_a_worker_forked_from_a_process_that_used_the_manager_works(alone: Talk) -> None:
    succeeded(alone.python(FORKING_WORKER.format(conversation=alone.conversation_id)))
    history = await alone.alice.request(
        {"type": "history", "conversation_id": alone.conversation_id}
    )
    contents = [message["content"] for message in history["messages"]]
    assert contents == ["from the parent", "from the child"]


async def test_what_is_forked_from_a_node_is_none(alone: Talk) -> None:
    process = succeeded(alone.python(FORKING_NODE.format(conversation=alone.conversation_id)))
    assert process.stdout.split() == ["False", "True"]
    assert "Stored, but not delivered" in process.stderr


# With Redis.


@pytest.mark.storeless
async def test_a_shell_sends_to_connection_client_user_and_conversation(with_redis: Talk) -> None:
    alice = with_redis.alice
    succeeded(
        with_redis.shell(
            f"m.sync.send_to_connection({alice.connection_id!r}, {{'type': 'one'}}); "
            f"m.sync.send_to_client({alice.client_id!r}, {{'type': 'two'}}); "
            f"m.sync.send_to_user({alice.welcome['user']['id']!r}, {{'type': 'three'}}); "
            f"m.sync.send_to_conversation({with_redis.conversation_id!r}, {{'type': 'four'}}); "
            f"m.sync.send_to_conversation({with_redis.conversation_id!r}, {{'type': 'five'}}, "
            f"exclude={alice.connection_id!r})"
        )
    )
    for frame_type in ("one", "two", "three", "four"):
        assert await alice.expect(frame_type) == {"type": frame_type}
    assert await alice.pending("five") == []


@pytest.mark.storeless
async def test_what_a_shell_posts_is_out_before_the_shell_ends(with_redis: Talk) -> None:
    for number in range(2):
        succeeded(
            with_redis.shell(f"m.sync.post_message({with_redis.conversation_id!r}, '{number}')")
        )
        frame = await with_redis.alice.expect("message")
        assert frame["message"]["content"] == str(number)
        # Bob has not joined; his list hears of it.
        await with_redis.bob.expect("conversation_updated", last_sequence=number + 1)


@pytest.mark.storeless
async def test_what_a_shell_changes_is_told_before_the_shell_ends(with_redis: Talk) -> None:
    conversation = with_redis.conversation_id
    succeeded(
        with_redis.shell(
            "from sessions_app.services import conversation_rename; "
            "from sessions_app.models import Conversation; "
            f"conversation_rename(conversation=Conversation.objects.get(pk={conversation!r}), "
            "title='New', actor=None)"
        )
    )
    frame = await with_redis.bob.expect("conversation_updated")
    assert frame["title"] == "New"


@pytest.mark.storeless
async def test_a_shell_moves_a_connection_of_the_server(with_redis: Talk) -> None:
    bob, conversation_id = with_redis.bob, with_redis.conversation_id
    ids = f"{bob.connection_id!r}, {conversation_id!r}"
    succeeded(with_redis.shell(f"assert m.sync.join_conversation({ids})"))
    # The node does it on its own time; others hear when it is done.
    await with_redis.alice.expect("user_joined")
    await with_redis.alice.message(conversation_id, "welcome")
    await bob.expect("message")
    succeeded(with_redis.shell(f"assert m.sync.leave_conversation({ids})"))
    await with_redis.alice.expect("user_left", timeout=10)


@pytest.mark.storeless
async def test_a_shell_ends_a_connection_at_once(with_redis: Talk) -> None:
    succeeded(with_redis.shell(f"m.sync.disconnect({with_redis.alice.connection_id!r})"))
    closed = await with_redis.alice.closed(timeout=3)
    assert closed.code == 4510


@pytest.mark.storeless
async def test_a_workers_threads_send_and_post(with_redis: Talk) -> None:
    user_id = with_redis.alice.welcome["user"]["id"]
    job = (
        f"m.sync.send_to_user({user_id!r}, {{'type': 'progress', 'number': number}}); "
        f"m.sync.post_message({with_redis.conversation_id!r}, str(number))"
    )
    succeeded(with_redis.python(WORKER.format(job=job, count=20)))
    numbers = [(await with_redis.alice.expect("progress"))["number"] for _ in range(20)]
    assert sorted(numbers) == list(range(20))
    messages = [(await with_redis.alice.expect("message"))["message"] for _ in range(20)]
    assert sorted(message["sequence"] for message in messages) == list(range(1, 21))


@pytest.mark.storeless
async def test_without_a_living_redis_a_post_is_stored_and_the_log_says_what_failed(
    redis_server: RedisServer,
    server_with: ServerWith,
    make_talk: Callable[..., Awaitable[Talk]],
    rest: Callable[..., httpx.AsyncClient],
) -> None:
    talk = await make_talk(server_with(REDIS_URL=redis_server.url))
    redis_server.kill()
    process = succeeded(talk.shell(f"m.sync.post_message({talk.conversation_id!r}, 'hello')"))
    assert "send once failed" in process.stderr
    history = await rest(talk.server, talk.account).get(
        f"/api/conversations/{talk.conversation_id}/messages"
    )
    assert [message["content"] for message in history.json()["messages"]] == ["hello"]

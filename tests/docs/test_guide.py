"""Every snippet of docs/guide.md, run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory

from connections.manager import WebSocketManager
from ovara.database import in_thread
from sessions_app.models import Participant
from tests.conftest import Connect, ServerWith
from tests.docs.snippets import snippet
from tests.support.database import Account
from tests.support.environment import ROOT
from tests.support.in_process import (
    add,
    make_conversation,
    make_person,
    running_manager,
    until,
)
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.storeless

PAGE = "docs/guide.md"


@pytest.fixture
async def manager(transactional_db: None) -> AsyncIterator[WebSocketManager]:
    async with running_manager() as manager:
        yield manager


def code_of(name: str) -> dict[str, Any]:
    """What a snippet defines."""
    code: dict[str, Any] = {}
    exec(snippet(PAGE, name), code)
    return code


async def test_sending_reaches_each_audience(manager: WebSocketManager) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    connection_id, socket = await add(manager, alice, None, talk)
    _, other_tab = await add(manager, alice, None, talk)
    client_id = manager.active_connections[connection_id].client_id
    await code_of("send")["tell_everybody"](connection_id, client_id, alice.id, talk)
    assert len(socket.of_type("notification")) == 3
    assert len(other_tab.of_type("notification")) == 2


async def test_a_plain_view_posts(manager: WebSocketManager) -> None:
    talk = await make_conversation(await make_person())
    remind = code_of("sync")["remind"]
    answer = await asyncio.to_thread(remind, RequestFactory().post("/"), talk)
    assert json.loads(answer.content) == {"sequence": 1}


async def test_a_socket_of_ones_own_gets_what_is_sent(
    manager: WebSocketManager, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = await make_person()
    talk = await make_conversation(alice)
    connection_id = await code_of("own-socket")["hold"](alice.id, talk)
    await manager.send_to_conversation(talk, {"type": "notification"})
    await manager.disconnect(connection_id, reason="enough")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'out: {"type":"notification"}'
    assert lines[-1] == "closed: 4510 enough"


async def test_the_services_open_a_conversation(manager: WebSocketManager) -> None:
    customer, supervisor = await make_person(), await make_person("supervisor")
    agent = await make_person("agent")
    _, socket = await add(manager, supervisor)
    open_case = code_of("conversations")["open_support_case"]
    case = await in_thread(open_case, customer.user, "agent")
    parts = Participant.objects.filter(conversation=case)
    users = await in_thread(lambda: set(parts.values_list("user_id", flat=True)))
    assert users == {customer.user.pk, supervisor.user.pk}
    assert agent.user.pk not in users
    await until(lambda: socket.of_type("conversation_added"))


def test_the_agent_has_ten_lines() -> None:
    lines = snippet(PAGE, "agent/receivers.py").splitlines()
    assert len([line for line in lines if line]) <= 10


async def test_the_agent_answers_each_message(
    tmp_path: Path,
    server_with: ServerWith,
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Awaitable[str]],
    connect: Connect,
) -> None:
    """The two files as they are, in an app of their own beside Ovara's."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent/__init__.py").touch()
    for name in ("agent/apps.py", "agent/receivers.py"):
        (tmp_path / name).write_text(snippet(PAGE, name))
    (tmp_path / "site_with_agent.py").write_text(
        "from ovara.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'agent']\n"
    )
    server = server_with(PYTHONPATH=f"{tmp_path}:{ROOT}", DJANGO_SETTINGS_MODULE="site_with_agent")
    alice, bob = make_user(server), make_user(server)
    talk = await make_conversation(server, alice, bob)
    client, listener = await connect(server, alice), await connect(server, bob)
    await client.join(talk)
    await listener.join(talk)
    for number, text in enumerate(("hello", "how are you?")):
        await client.message(talk, text)
        answer = (await client.expect("message"))["message"]
        assert answer["content"] == f"You wrote {len(text)} characters."
        assert (answer["role"], answer["sender"]) == ("assistant", None)
        assert answer["sequence"] == 2 * number + 2
        # Bob hears both.
        assert (await listener.expect("message"))["message"]["content"] == text
        assert (await listener.expect("message"))["message"] == answer
    assert await client.pending("message") == []


async def test_a_worker_reports_and_posts(
    redis_server: RedisServer,
    server_with: ServerWith,
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Awaitable[str]],
    connect: Connect,
) -> None:
    server = server_with(REDIS_URL=redis_server.url)
    alice = make_user(server)
    talk = await make_conversation(server, alice)
    client = await connect(server, alice)
    await client.join(talk)
    code = f"import django\ndjango.setup()\n{snippet(PAGE, 'worker')}\n"
    worker = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", f"{code}make_report({alice.id!r}, {talk!r})"],
        cwd=ROOT,
        env=server.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert worker.returncode == 0, worker.stderr
    percents = [(await client.expect("progress"))["percent"] for _ in range(3)]
    assert percents == [0, 50, 100]
    frame = await client.expect("message")
    assert frame["message"]["content"] == "Your report is ready."


def test_the_guide_tells_of_every_method_of_the_manager() -> None:
    text = (ROOT / PAGE).read_text()
    methods = [name for name in vars(WebSocketManager) if not name.startswith("_")]
    assert [name for name in methods if name not in text and not name.startswith("send_to")] == []

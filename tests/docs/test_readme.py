"""Every snippet of README.md, run as it is written there but for the address."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page

from connections.manager import WebSocketManager
from tests.conftest import Connect, ServerWith, program
from tests.docs.snippets import page_path, snippet, table_rows
from tests.support.database import PASSWORD, Account
from tests.support.environment import ROOT
from tests.support.in_process import add, make_conversation, make_person, running_manager
from tests.support.server import ServerProcess

pytestmark = pytest.mark.storeless

DOCUMENTED_ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def demo_server(server_with: ServerWith) -> ServerProcess:
    """A server with the demo accounts, whose password is `PASSWORD`."""
    server = server_with()
    environment = server.env | {"OVARA_DEMO_PASSWORD": PASSWORD}
    server.env = environment
    made = server.manage("demo")
    assert made.returncode == 0, made.stderr
    return server


def account_of(server: ServerProcess, username: str) -> Account:
    from ovara.accounts.models import User

    user = server.database.run(lambda alias: User.objects.using(alias).get(username=username))
    return Account(id=str(user.pk), username=username, user=user)


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = snippet("README.md", "two-commands").split("\n")
    assert [command for command in commands if command] == ["make run", "make test"]
    assert {"run", "test", "test-deps", "reset", "serve"} <= set(targets)


def test_the_cleanup_command_works_as_it_is_written(demo_server: ServerProcess) -> None:
    debug, python, manage, *command = snippet("README.md", "cleanup-command").split()
    assert (debug, python, manage) == ("DEBUG=1", ".venv/bin/python", "manage.py")
    done = demo_server.manage(*command)
    assert done.returncode == 0, done.stderr
    assert "Connections inactive for 30 minutes, closed: 0" in done.stdout


async def test_server_code_tells_a_user_and_posts(transactional_db: None) -> None:
    async with running_manager() as manager:
        alice = await make_person()
        talk = await make_conversation(alice)
        _, socket = await add(manager, alice, None, talk)
        code: dict[str, Any] = {}
        exec(snippet("README.md", "from-server-code"), code)
        assert isinstance(code["websocket_manager"], WebSocketManager)
        await code["report_is_ready"](alice.id, talk)
    notice, message = socket.of_type("notification", "message")
    assert notice == {"type": "notification", "text": "Report ready"}
    assert message["message"]["content"] == "Here is your report: …"


async def test_a_page_talks_by_the_client_library(
    demo_server: ServerProcess, new_page: Callable[..., Awaitable[Page]], connect: Connect
) -> None:
    alice, bob = account_of(demo_server, "alice"), account_of(demo_server, "bob")
    page = await new_page(demo_server, alice, bypass_csp=True)
    await page.wait_for_url(f"{demo_server.url}/")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await page.add_script_tag(content=snippet("README.md", "from-a-browser"), type="module")
    listener = await connect(demo_server, bob)
    frame = await listener.expect("conversation_updated", timeout=10)
    ack = await listener.join(frame["conversation_id"], since=0)
    assert [message["content"] for message in ack["messages"]] == ["Hello from a browser"]
    assert ack["messages"][0]["sender"] == alice.as_json
    async with asyncio.timeout(5):
        while "alice Hello from a browser" not in said:
            await page.wait_for_timeout(20)


async def test_a_script_joins_and_reads(
    server: ServerProcess,
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Awaitable[str]],
    connect: Connect,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alice = make_user(server)
    talk = await make_conversation(server, alice)
    client = await connect(server, alice)
    await client.message(talk, "hello")
    code: dict[str, Any] = {}
    text = snippet("README.md", "from-a-script")
    assert "ws://127.0.0.1:8000/ws/" in text
    exec(text.replace("ws://127.0.0.1:8000/ws/", server.ws_url), code)
    await code["talk"](alice.token(), talk)
    assert capsys.readouterr().out.splitlines() == [
        f"connected as {alice.username}",
        "1 hello",
    ]


async def test_the_curl_lines_do_what_they_say(
    demo_server: ServerProcess, connect: Connect
) -> None:
    program("curl")
    bob = account_of(demo_server, "bob")
    listener = await connect(demo_server, bob)
    script = snippet("README.md", "with-curl")
    assert DOCUMENTED_ADDRESS in script
    shell = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-e", "-o", "pipefail"],
        input=script.replace(DOCUMENTED_ADDRESS, demo_server.url).replace("\ncurl", "\necho; curl"),
        env=os.environ | {"OVARA_DEMO_PASSWORD": PASSWORD, "CLIENT_ID": listener.client_id},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shell.returncode == 0, shell.stderr
    message, stats, cleanup, connections = map(json.loads, shell.stdout.split("\n")[1:])
    assert message["content"] == "Hello from curl"
    assert message["sender"]["username"] == "alice"
    assert stats["total_connections"] == 1
    assert cleanup == {"closed": 0, "max_inactive_minutes": 30}
    assert connections["client_id"] == listener.client_id
    assert [one["connection_id"] for one in connections["connections"]] == [listener.connection_id]
    await listener.expect("conversation_added", title="Lunch")


def test_the_map_names_every_folder_there_is() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {path.split("/")[0] for path in tracked if "/" in path and path[0] != "."}
    mapped = [row[0].strip("`/") for row in table_rows("README.md", "Where things are")]
    assert folders <= {name.split("/")[0] for name in mapped}
    assert all((ROOT / name).is_dir() for name in mapped)


def test_the_screenshot_is_small_enough_to_be_loaded_gladly() -> None:
    picture = page_path("docs/images/chat.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= 200_000

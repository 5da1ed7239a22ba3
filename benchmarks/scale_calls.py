"""What `benchmarks.scale` asks of a server, one thing after the other."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext, setup_test_environment
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.running import Running
from benchmarks.servers import ROOT, Server
from connections import selectors
from ovara.accounts.tokens import AccessToken
from tests.support.crowd import RARE, Crowd, Size, fill

WARM_UP = 3
ALL_PAGES = 10_000
Ask = Callable[[], Awaitable[object]]


def prepare(size: tuple[int, ...]) -> Crowd:
    """Migrate and fill the database; say how long it took."""
    call_command("migrate", verbosity=0)
    began = time.monotonic()
    crowd = fill(Size(*size))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # As its own daemon does, sooner or later.
            cursor.execute("VACUUM ANALYZE")
    print(f"filled {size} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return crowd


def pages(crowd: Crowd) -> dict[str, str]:
    """What is asked by GET, as its user."""
    messages = f"/api/conversations/{crowd.giant}/messages"
    middle = crowd.giant_length // 2
    admin = "/admin/sessions_app"
    return {
        "history, newest 50": messages,
        "history, oldest 50": f"{messages}?after=0",
        "history, 50 in the middle": f"{messages}?before={middle}",
        "history, 200 in the middle": f"{messages}?after={middle}&limit=200",
        "200 conversations, first 50": "/api/conversations",
        "200 conversations, second 100": "/api/conversations?page=2&page_size=100",
        "a client's connections": f"/api/clients/{crowd.client}/connections",
        "statistics": "/api/connections/stats",
        "sessions, as staff": "/api/sessions",
        "admin: messages": f"{admin}/message/",
        "admin: messages, page 10": f"{admin}/message/?p=10",
        "admin: messages, last page": f"{admin}/message/?p={{last}}",
        "admin: messages with a rare word": f"{admin}/message/?q={RARE}",
        "admin: messages by role": f"{admin}/message/?role=assistant",
        "admin: messages of a conversation": f"{admin}/message/?conversation={crowd.giant}",
        "admin: messages of a sender": f"{admin}/message/?sender=user0",
        "admin: connections": "/admin/connections/connection/",
        "admin: connections, last page": "/admin/connections/connection/?p={last}",
        "admin: connections, user name": "/admin/connections/connection/?q=user1",
        "admin: connections, address": "/admin/connections/connection/?q=10.0.1",
        "admin: connections, closed": "/admin/connections/connection/?state=closed",
        "admin: connections, of a node": f"/admin/connections/connection/?node={crowd.nodes[0]}",
        "admin: clients": "/admin/connections/client/",
        "admin: sessions": f"{admin}/session/",
        "admin: sessions, last page": f"{admin}/session/?p={{last}}",
        "admin: sessions, user name": f"{admin}/session/?q=user1",
        "admin: sessions, not expired": f"{admin}/session/?expired=no",
        "admin: conversations": f"{admin}/conversation/",
        "admin: conversations, last page": f"{admin}/conversation/?p={{last}}",
        "admin: conversations, title": f"{admin}/conversation/?q=Talk+77",
        "admin: conversations, participant": f"{admin}/conversation/?participant=user0",
    }


def ask(crowd: Crowd, folder: Path, requests: int) -> dict[str, Any]:
    """Waits in ms by what was asked, queries of one answer, and how many rows there are."""
    # So that this process sees what a page was made of.
    setup_test_environment()
    browser = Browser()
    browser.force_login(crowd.staff)
    addresses = {
        name: address.format(last=_last_page(browser, address))
        for name, address in pages(crowd).items()
    }
    queries = {name: _queries(browser, crowd, address) for name, address in addresses.items()}
    server = Server("ovara", _command, {})
    with (folder / "server.log").open("w") as log:
        running = Running(server, log, core=None)
        try:
            cookie = browser.cookies["sessionid"].value
            asked = _Asked(crowd, running.port, cookie, requests)
            waits = asyncio.run(asked.all(addresses))
            waits |= {"`manage.py cleanup`": [_cleanup()]}
        finally:
            running.stop()
        problems = (folder / "server.log").read_text()
    if problems:
        print(problems, file=sys.stderr)
    return {"waits": waits, "queries": queries, "sizes": _sizes()}


def _command(port: int) -> list[str]:
    return [sys.executable, "-m", "ovara.server", "--port", str(port), "--log-level", "warning"]


def _last_page(browser: Browser, address: str) -> int:
    if "{last}" not in address:
        return 0
    listed = browser.get(address.partition("?")[0]).context["cl"]
    return int(listed.paginator.num_pages)


def _queries(browser: Browser, crowd: Crowd, address: str) -> int:
    """Of one answer, in this process."""
    headers = {} if address.startswith("/admin/") else {"HTTP_AUTHORIZATION": _bearer(crowd)}
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            if address == "/api/connections/stats":
                # It reads in a thread of its own.
                selectors.connection_stats()
            else:
                answer = browser.get(address, **headers)
                assert answer.status_code == 200, (address, answer.content[:500])
    return len(captured)


def _bearer(crowd: Crowd) -> str:
    return f"Bearer {AccessToken.for_user(crowd.alice)}"


def _cleanup() -> float:
    """Milliseconds; the command's start included."""
    began = time.perf_counter()
    command = [sys.executable, "manage.py", "cleanup"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout, file=sys.stderr)
    return (time.perf_counter() - began) * 1e3


def _sizes() -> dict[str, int]:
    from tests.stores.plans import GROWING

    return {model.__name__: model._default_manager.count() for model in GROWING}


class _Asked:
    """A client that does one thing after the other."""

    def __init__(self, crowd: Crowd, port: int, cookie: str, requests: int) -> None:
        self.crowd = crowd
        self.port = port
        self.requests = requests
        self.rest = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120)
        self.rest.cookies.set("sessionid", cookie)
        self.staff = f"Bearer {AccessToken.for_user(crowd.staff)}"
        self._ids = itertools.count(1)

    async def all(self, addresses: dict[str, str]) -> dict[str, list[float]]:
        waits: dict[str, list[float]] = {}
        for name, address in addresses.items():
            waits[name] = await self._measure(lambda address=address: self._get(address))
        waits["connect, until `welcome`"] = await self._measure(self._connect)
        socket, _ = await self._welcomed()
        talk, giant = self.crowd.talk, self.crowd.giant
        join = {"type": "join", "conversation_id": talk, "since": 1}
        leave = {"type": "leave", "conversation_id": talk}
        waits["`join` with `since`"], waits["`leave`"] = [], []
        for number in range(self.requests + WARM_UP):
            for name, frame in (("`join` with `since`", join), ("`leave`", leave)):
                wait = await _timed(lambda frame=frame: self._request(socket, frame))
                waits[name] += [wait] if number >= WARM_UP else []
        waits["`message`, stored"] = await self._measure(lambda: self._send(socket, giant))
        waits["`history`, newest 50"] = await self._measure(
            lambda: self._request(socket, {"type": "history", "conversation_id": giant})
        )
        await socket.close()
        await self.rest.aclose()
        return waits

    async def _measure(self, asking: Ask) -> list[float]:
        for _ in range(WARM_UP):
            await asking()
        return [await _timed(asking) for _ in range(self.requests)]

    async def _get(self, address: str) -> None:
        is_staffs = address.startswith(("/admin/", "/api/connections", "/api/sessions"))
        token = self.staff if is_staffs else _bearer(self.crowd)
        answer = await self.rest.get(address, headers={"Authorization": token})
        assert answer.status_code == 200, (address, answer.text[:500])

    async def _welcomed(self) -> tuple[ClientConnection, dict[str, Any]]:
        socket = await connect(
            f"ws://127.0.0.1:{self.port}/ws/?client_id={self.crowd.client}",
            additional_headers={"Authorization": _bearer(self.crowd)},
            proxy=None,
        )
        frame = json.loads(await socket.recv())
        assert frame["type"] == "welcome", frame
        return socket, frame

    async def _connect(self) -> None:
        socket, _ = await self._welcomed()
        await socket.close()

    async def _send(self, socket: ClientConnection, conversation_id: str) -> None:
        frame = {"type": "message", "conversation_id": conversation_id, "content": "x" * 120}
        await self._request(socket, frame | {"client_message_id": uuid.uuid4().hex})

    async def _request(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        number = str(next(self._ids))
        await socket.send(json.dumps(frame | {"id": number}))
        while (answer := json.loads(await socket.recv())).get("id") != number:
            pass
        assert answer["type"] == "ack", answer


async def _timed(asking: Ask) -> float:
    began = time.perf_counter()
    await asking()
    return (time.perf_counter() - began) * 1e3

"""Two people in a conversation on a server of their own, whose database then fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.support.client import WireClient
from tests.support.database import Account, Database
from tests.support.rest import rest_client
from tests.support.server import ServerProcess

Frame = dict[str, Any]

# The lapse is shorter than an outage: a node that can't write its heartbeat is not dead.
SETTINGS = {
    "OVARA_NODE_HEARTBEAT_SECONDS": "0.5",
    "OVARA_NODE_LAPSE_SECONDS": "2",
    "OVARA_CLEANUP_INTERVAL_SECONDS": "0.5",
    "OVARA_PRESENCE_GRACE_SECONDS": "0.5",
}
# Clients give an answer up after 10 s; by then they must have heard.
ANSWER_SECONDS = 9.0
# A heartbeat, and what the machine needs.
BACK_SECONDS = 10.0


class Scene:
    """alice and bob are connected and have joined; carol comes and goes."""

    def __init__(self, server: ServerProcess, people: list[Account], conversation_id: str) -> None:
        self.server = server
        self.people = people
        self.conversation_id = conversation_id
        self.alice: WireClient
        self.bob: WireClient
        # client_message_id → the message that was acknowledged
        self.promised: dict[str, Frame] = {}

    @classmethod
    @asynccontextmanager
    async def on(cls, server: ServerProcess) -> AsyncIterator[Self]:
        """The scene on a server that works."""
        people = [server.make_user() for _ in range(3)]
        names = [person.username for person in people[1:]]
        async with rest_client(server, people[0]) as rest:
            answer = await rest.post("/api/conversations", json={"participants": names})
            assert answer.status_code == 201, answer.text
        scene = cls(server, people, answer.json()["id"])
        async with await scene.connect(0) as scene.alice, await scene.connect(1) as scene.bob:
            await scene.alice.join(scene.conversation_id)
            await scene.bob.join(scene.conversation_id)
            yield scene

    @staticmethod
    async def refused(server: ServerProcess) -> Frame:
        """A client comes, and is refused; the words."""
        async with await WireClient.connect(server, server.make_user()) as client:
            disconnect = (await client.closed()).disconnect
        assert disconnect is not None
        return disconnect

    async def connect(self, person: int) -> WireClient:
        return await WireClient.connect(self.server, self.people[person])

    async def ask(self, frame_type: str, **fields: Any) -> Frame:
        """A request of alice about the conversation; its answer."""
        frame = {"type": frame_type, "conversation_id": self.conversation_id} | fields
        return await self.alice.request(frame, timeout=ANSWER_SECONDS)

    async def say(self, content: str = "hello", *, client_message_id: str = "") -> Frame:
        """alice sends a message; the answer, an ack of which is noted."""
        client_message_id = client_message_id or uuid.uuid4().hex
        answer = await self.ask("message", content=content, client_message_id=client_message_id)
        if answer["type"] == "ack":
            self.promised[client_message_id] = answer["message"]
        return answer

    async def failing_part(self) -> list[str]:
        """What `readyz` says is failing; nothing where all is well."""
        async with rest_client(self.server) as rest:
            answer = await rest.get("/readyz")
        failed: list[str] = answer.json().get("failed", [])
        assert (answer.status_code == 503) == bool(failed)
        return failed

    async def until_ready(self, *, is_ready: bool) -> None:
        """Wait until `readyz` says so."""
        deadline = time.monotonic() + BACK_SECONDS
        while bool(await self.failing_part()) == is_ready:
            assert time.monotonic() < deadline, self.server.logs()
            # Nothing tells of it: who asks, asks again.
            await asyncio.sleep(0.1)

    async def check_that_it_serves(self) -> None:
        """All is well again: messages are taken and delivered, everybody is still here, and what
        was acknowledged is there once, with no gap."""
        await self.until_ready(is_ready=True)
        self.bob.frames.clear()
        message = (await self.say("back again"))["message"]
        delivered = await self.bob.expect("message", conversation_id=self.conversation_id)
        assert delivered["message"] == message
        stored = await self._stored()
        assert [one["sequence"] for one in stored] == list(range(1, len(stored) + 1))
        assert {one["client_message_id"]: one for one in stored} == self.promised
        assert len(stored) == len(self.promised)
        assert self.alice.socket.close_code is None and self.bob.socket.close_code is None

    async def check_that_carol_left(self) -> None:
        """Others hear of it, though nobody could write it down when it happened."""
        carol = self.people[2]
        await self.alice.expect("user_left", timeout=BACK_SECONDS, user=carol.as_json)
        users = (await self.ask("presence"))["users"]
        assert {user["user"]["id"] for user in users} == {one.id for one in self.people[:2]}

    async def _stored(self) -> list[Frame]:
        messages: list[Frame] = []
        while True:
            page = await self.ask("history", after=len(messages), limit=200)
            messages += page["messages"]
            if not page["has_more"]:
                return messages


def server_in(
    folder: Path, template: Database, logs: Path, environment: Mapping[str, str] = SETTINGS
) -> ServerProcess:
    """A server, not started, whose database is alone in `folder`."""
    database = template.copy_to(folder / "db.sqlite3")
    return ServerProcess(database, folder=logs, environment=environment)


async def is_healthy(server: ServerProcess) -> bool:
    """Whether the process answers at all."""
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as http:
        return (await http.get(f"{server.url}/healthz")).status_code == 200


@contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


def set_writable(folder: Path, is_writable: bool) -> None:
    for path in (*folder.iterdir(), folder):
        path.chmod(0o700 if is_writable else 0o500)


def without_the_right_to_ignore_permissions() -> list[str]:
    """What root must give up for a file's permissions to mean anything."""
    if os.geteuid():
        return []
    setpriv = shutil.which("setpriv") or pytest.skip("setpriv is not installed: util-linux")
    return [setpriv, "--bounding-set=-dac_override", "--inh-caps=-dac_override"]

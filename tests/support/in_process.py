"""The manager inside the test's own process, with plain sockets that are no network.

    async def test_a_frame_arrives(manager, people):
        socket = FakeSocket()
        connection_id = await manager.add_connection(socket, user_id=people.alice.id)
        await manager.send_to_connection(connection_id, {"type": "notification"})
        assert socket.frames == [{"type": "notification"}]

Such tests need `django_db(transaction=True)`: the manager writes from threads of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from connections.close_codes import CloseCode
from connections.manager import WebSocketManager, websocket_manager
from ovara.accounts.models import User
from ovara.database import in_thread
from ovara.ids import new_id
from sessions_app.models import Conversation
from sessions_app.services import conversation_create
from tests.support.environment import PATIENCE_SECONDS

Frame = dict[str, Any]


class FakeSocket:
    """All that the manager wants of a WebSocket."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.closed: tuple[int, str] | None = None

    async def send_text(self, text: str) -> None:
        self.texts.append(text)

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    @property
    def frames(self) -> list[Frame]:
        """What was sent so far."""
        return [json.loads(text) for text in self.texts]

    def of_type(self, *types: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] in types]


class BlockedSocket(FakeSocket):
    """A peer that reads nothing until `read` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.read = asyncio.Event()

    async def send_text(self, text: str) -> None:
        await self.read.wait()
        await super().send_text(text)


class BrokenSocket(FakeSocket):
    """A peer that has gone without a word."""

    async def send_text(self, text: str) -> None:
        raise ConnectionResetError("the peer is gone")


@dataclass(frozen=True, slots=True)
class Person:
    """An account of the test's database."""

    user: User

    @property
    def id(self) -> str:
        return str(self.user.pk)

    @property
    def as_json(self) -> dict[str, str]:
        return {"id": self.id, "username": self.user.username}


async def make_person(username: str = "") -> Person:
    """A new account; without a name, one that nobody else has."""
    name = username or f"user-{uuid.uuid4().hex[:12]}"
    return Person(await in_thread(User.objects.create, username=name))


async def make_conversation(owner: Person, *members: Person) -> str:
    """The id of a new conversation."""
    conversation: Conversation = await in_thread(
        conversation_create,
        owner=owner.user,
        title="Talk",
        usernames=[member.user.username for member in members],
    )
    # Whoever connects from now on must not hear of it any more: tests count frames.
    await until(
        lambda: all(
            task.done() or task.get_name() != "participant added" for task in asyncio.all_tasks()
        )
    )
    return str(conversation.pk)


async def add(
    manager: WebSocketManager,
    person: Person,
    socket: FakeSocket | None = None,
    *conversation_ids: str,
    client_id: str | None = None,
) -> tuple[str, FakeSocket]:
    """An authenticated connection that has joined; its id, and its socket."""
    socket = socket or FakeSocket()
    connection_id = await manager.add_connection(socket, client_id or new_id(), person.id)
    assert await manager.authenticate_connection(connection_id)
    for conversation_id in conversation_ids:
        assert await manager.join_conversation(connection_id, conversation_id)
    socket.texts.clear()
    return connection_id, socket


@contextlib.asynccontextmanager
async def running_manager() -> AsyncIterator[WebSocketManager]:
    """The process's manager, whose node runs in the test's loop; stopped afterwards."""
    node = websocket_manager.node
    try:
        # It may fail when it runs already: then the next test must not find it so.
        await node.ensure_started()
        yield websocket_manager
    finally:
        node.local.close_all(CloseCode.DRAINING, "the test is over")
        await node.stop()


async def until(condition: Any, *, timeout: float = PATIENCE_SECONDS, what: str = "") -> None:
    """Wait for what has no event to await: another thread's write, a periodic task."""
    async with asyncio.timeout(timeout):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.01)

"""A database that is lost between a commit and its answer: stored, and nobody was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sessions_app.models import Message
from tests.conftest import Connect, ServerWith
from tests.support.database import Database
from tests.support.stores import current_store

# A file has no answer to lose; MongoDB's driver asks again by itself.
pytestmark = pytest.mark.stores("postgresql")

WORDS = "words whose commit has no answer"

MakeConversation = Callable[..., Awaitable[str]]


class Line:
    """One connection to PostgreSQL. With `WORDS` in it, it breaks when their commit is answered."""

    def __init__(self, breaks: asyncio.Event) -> None:
        self._breaks = breaks
        self._has_words = False
        self._is_doomed = False

    async def carry(self, client: Any, server: Any) -> None:
        (reader, writer), (answers, requests) = client, server
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, requests))
                group.create_task(self._answer(answers, writer))
        except* OSError:
            # Either side has gone.
            pass
        finally:
            writer.close()
            requests.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self._has_words |= WORDS.encode() in data
            if self._has_words and b"COMMIT" in data and not self._breaks.is_set():
                self._breaks.set()
                self._is_doomed = True
            writer.write(data)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._is_doomed:
                break
            writer.write(data)
        writer.close()


@pytest.fixture
async def breaks() -> asyncio.Event:
    """Set when the answer to the commit was lost; once in a test."""
    return asyncio.Event()


@pytest.fixture
async def line_port(breaks: asyncio.Event) -> AsyncIterator[int]:
    """Where a proxy before PostgreSQL listens."""
    store_port = current_store().port
    carried: set[asyncio.Task[None]] = set()

    async def accept(*client: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        carried.add(task)
        server = await asyncio.open_connection("127.0.0.1", store_port)
        await Line(breaks).carry(client, server)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    for task in carried:
        task.cancel()
    await asyncio.gather(*carried, return_exceptions=True)
    await listener.wait_closed()


def stored(database: Database) -> int:
    return database.run(lambda alias: Message.objects.using(alias).filter(content=WORDS).count())


async def test_what_was_stored_without_an_answer_is_found_when_it_is_sent_again(
    server_with: ServerWith,
    database_template: Database,
    tmp_path: Any,
    line_port: int,
    breaks: asyncio.Event,
    make_conversation: MakeConversation,
    connect: Connect,
) -> None:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    url = database.url.replace(f":{current_store().port}/", f":{line_port}/")
    node = server_with(database=database, DATABASE_URL=url)
    alice, bob = node.make_user(), node.make_user()
    talk = await make_conversation(node, alice, bob)
    sender, reader = await connect(node, alice), await connect(node, bob)
    await sender.join(talk)
    await reader.join(talk)
    frame = {"type": "message", "conversation_id": talk, "content": WORDS}
    frame["client_message_id"] = "only once"

    refused = await sender.request(frame)
    assert breaks.is_set()
    assert (refused["type"], refused["code"]) == ("error", "overloaded")
    assert "may have been stored" in refused["message"]
    assert stored(database) == 1

    ack = await sender.request(frame)
    assert (ack["type"], ack["duplicate"], ack["message"]["sequence"]) == ("ack", True, 1)
    assert await reader.expect("resync") == {"type": "resync", "conversation_id": talk}
    assert (await reader.join(talk, since=0))["messages"] == [ack["message"]]
    # Whoever sends it a third time is told what is known; nobody else is troubled.
    assert (await sender.request(frame))["duplicate"] is True
    await sender.message(talk, "the next one")
    await reader.expect("message")
    assert await reader.pending("resync") == []

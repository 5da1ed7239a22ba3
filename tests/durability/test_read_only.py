"""A database that turns read-only under a running server, as a standby does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Connect, ServerWith
from tests.support.stores import PostgreSQL, current_store


def set_read_only(name: str, is_read_only: bool) -> None:
    """For every connection from now on, the server's included: it has to make new ones."""
    store = current_store()
    assert isinstance(store, PostgreSQL)
    word = "on" if is_read_only else "off"
    store.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {word}")
    store.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )


@pytest.mark.stores("postgresql")
async def test_nothing_is_acknowledged_while_read_only_and_service_returns_by_itself(
    server_with: ServerWith, make_conversation: Any, connect: Connect
) -> None:
    node = server_with()
    alice = node.make_user()
    talk = await make_conversation(node, alice)
    client = await connect(node, alice)
    await client.join(talk)
    await client.message(talk, "before")
    set_read_only(node.database.name, True)
    for number in range(4):
        fields = {"content": "meanwhile", "client_message_id": f"meanwhile {number}"}
        answer = await client.request({"type": "message", "conversation_id": talk} | fields)
        assert (answer["type"], answer["code"]) == ("error", "overloaded")
    page = await client.request({"type": "history", "conversation_id": talk})
    assert [message["content"] for message in page["messages"]] == ["before"]
    assert "internal" not in node.logs()

    set_read_only(node.database.name, False)
    # The first may meet a connection that has just been ended.
    await client.request(
        {"type": "message", "conversation_id": talk} | fields | {"client_message_id": "first"}
    )
    await client.message(talk, "after")
    page = await client.request({"type": "history", "conversation_id": talk})
    assert [message["content"] for message in page["messages"]][-1] == "after"
    sequences = [message["sequence"] for message in page["messages"]]
    assert sequences == list(range(1, len(sequences) + 1))

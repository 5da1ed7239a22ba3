"""The manager called from Django views of the server's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Connect, ServerWith
from tests.support.client import WireClient
from tests.support.database import Account
from tests.support.server import ServerProcess


@pytest.fixture
def site(shared_server_with: ServerWith) -> ServerProcess:
    """A server whose site has views that call the manager."""
    return shared_server_with(DJANGO_SETTINGS_MODULE="tests.manager.probe.settings")


@pytest.fixture(params=["plain", "async"])
def call(request: pytest.FixtureRequest, site: ServerProcess) -> Callable[..., Any]:
    """`call("send_to_user", user_id=…, frame=…)`: what a view of that kind got."""

    def post(method: str, **arguments: Any) -> Any:
        answer = httpx.post(
            f"{site.url}/{request.param}/{method}", json=arguments, timeout=10, trust_env=False
        )
        assert answer.status_code == 200, answer.text[:2000]
        return answer.json()

    return post


@pytest.fixture
async def talk(
    site: ServerProcess,
    make_user: Callable[..., Account],
    make_conversation: Callable[..., Any],
    connect: Connect,
) -> tuple[WireClient, str]:
    """A client that has joined a conversation, and the conversation's id."""
    account = make_user(site)
    conversation_id = await make_conversation(site, account)
    client = await connect(site, account)
    await client.join(conversation_id)
    return client, conversation_id


async def test_a_view_sends_to_connection_client_user_and_conversation(
    call: Callable[..., Any], talk: tuple[WireClient, str]
) -> None:
    client, conversation_id = talk
    targets = {
        "connection": client.connection_id,
        "client": client.client_id,
        "user": client.welcome["user"]["id"],
        "conversation": conversation_id,
    }
    for kind, target in targets.items():
        call(f"send_to_{kind}", **{f"{kind}_id": target, "frame": {"type": f"for-{kind}"}})
        assert await client.expect(f"for-{kind}") == {"type": f"for-{kind}"}


async def test_a_view_excludes_a_connection(
    call: Callable[..., Any], talk: tuple[WireClient, str]
) -> None:
    client, conversation_id = talk
    call(
        "send_to_conversation",
        conversation_id=conversation_id,
        frame={"type": "others"},
        exclude=client.connection_id,
    )
    assert await client.pending("others") == []


async def test_a_view_posts_a_message(
    call: Callable[..., Any], talk: tuple[WireClient, str]
) -> None:
    client, conversation_id = talk
    message = call("post_message", conversation_id=conversation_id, content="hello")
    frame = await client.expect("message")
    assert frame["message"] == message
    assert message["sequence"] == 1


async def test_a_view_takes_a_connection_out_of_a_conversation_and_in_again(
    call: Callable[..., Any], talk: tuple[WireClient, str]
) -> None:
    client, conversation_id = talk
    ids = {"connection_id": client.connection_id, "conversation_id": conversation_id}
    assert call("leave_conversation", **ids) is True
    call("send_to_conversation", conversation_id=conversation_id, frame={"type": "missed"})
    assert call("join_conversation", **ids) is True
    call("send_to_conversation", conversation_id=conversation_id, frame={"type": "heard"})
    await client.expect("heard")
    assert await client.pending("missed") == []


async def test_a_view_ends_a_connection(
    call: Callable[..., Any], talk: tuple[WireClient, str]
) -> None:
    client, _ = talk
    assert call("disconnect", connection_id=client.connection_id, reason="enough") is True
    closed = await client.closed()
    assert closed.code == 4510
    assert closed.disconnect is not None and closed.disconnect["reason"] == "enough"


async def test_a_view_reads_the_statistics_and_cleans_up(
    call: Callable[..., Any], talk: tuple[WireClient, str]
) -> None:
    assert call("get_connection_stats")["total_connections"] >= 1
    assert call("cleanup_inactive_connections", max_inactive_minutes=30) == 0

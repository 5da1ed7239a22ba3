"""The first frame `authenticate`, renewing the token of a live connection, and the token's end."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from ovara.accounts.tokens import AccessToken, RefreshToken
from tests.connecting.conftest import Connect, closed_row, row_of
from tests.support.client import WireClient
from tests.support.server import ServerProcess

SOMEWHERE = str(uuid.uuid4())

OTHER_REQUESTS: list[dict[str, Any]] = [
    {"type": "ping"},
    {"type": "join", "conversation_id": SOMEWHERE},
    {"type": "leave", "conversation_id": SOMEWHERE},
    {
        "type": "message",
        "conversation_id": SOMEWHERE,
        "content": "hello",
        "client_message_id": "m-1",
    },
    {"type": "typing", "conversation_id": SOMEWHERE, "is_typing": True},
    {"type": "read", "conversation_id": SOMEWHERE, "sequence": 1},
    {"type": "history", "conversation_id": SOMEWHERE},
    {"type": "presence", "conversation_id": SOMEWHERE},
    {"type": "away", "is_away": True},
    {"type": "state", "state": {"a": 1}},
]


def token_ending_in(client_or_user: Any, seconds: float) -> str:
    return str(client_or_user.token(lifetime=timedelta(seconds=seconds)))


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    assert len(text) == len("2026-01-01T00:00:00.000Z")
    return datetime.fromisoformat(text)


async def authenticate(client: WireClient, token: str) -> dict[str, Any]:
    return await client.request({"type": "authenticate", "token": token})


async def test_until_the_first_authenticate_every_other_request_is_unauthenticated(
    any_server: ServerProcess, connect: Connect
) -> None:
    client = await connect(any_server)
    for request in OTHER_REQUESTS:
        answer = await client.request(request)
        assert (answer["type"], answer["code"]) == ("error", "unauthenticated"), request
    assert (await authenticate(client, any_server.make_user().token()))["type"] == "ack"
    assert (await client.request({"type": "ping"}))["type"] == "pong"


async def test_an_invalid_frame_is_invalid_before_it_is_unauthenticated(
    server: ServerProcess, connect: Connect
) -> None:
    client = await connect(server)
    answer = await client.request({"type": "typing", "conversation_id": "x", "is_typing": True})
    assert answer["code"] == "invalid"


async def test_the_first_authenticate_answers_what_welcome_would_have_said(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    token = alice.token()
    client = await connect(any_server)
    ack = await authenticate(client, token)
    assert ack.keys() == {"type", "id", "user", "token_expires_at", "client_id", "session"}
    assert ack["user"] == alice.as_json
    assert ack["session"] == {"id": ack["session"]["id"], "resumed": False, "state": {}}
    assert moment(ack["token_expires_at"]).timestamp() == AccessToken(token)["exp"]
    row = row_of(any_server, client.connection_id)
    assert (row.authenticated, str(row.user_id), str(row.client_id), str(row.session_id)) == (
        *(True, alice.id, ack["client_id"], ack["session"]["id"]),
    )


async def test_the_ids_of_the_query_wait_for_the_authenticate_frame(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice, client_id = any_server.make_user(), str(uuid.uuid4())
    first = await connect(any_server, alice, client_id=client_id)
    await first.request({"type": "state", "state": {"draft": "half a"}})

    second = await connect(any_server, client_id=client_id, session_id=first.session_id)
    assert second.welcome["client_id"] is None
    assert second.welcome["session"] is None
    ack = await authenticate(second, alice.token())
    assert ack["client_id"] == client_id
    assert ack["session"] == {
        "id": first.session_id,
        "resumed": True,
        "state": {"draft": "half a"},
    }


async def test_a_bad_first_token_is_an_error_and_may_be_followed_by_a_good_one(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    client = await connect(any_server)
    refresh = str(RefreshToken.for_user(alice.user))
    for bad in ("nonsense", "", "a.b.c", token_ending_in(alice, -1), refresh):
        answer = await authenticate(client, bad)
        assert (answer["type"], answer["code"]) == ("error", "unauthenticated"), bad
        assert answer["message"]
        assert not bad or bad not in answer["message"]
    assert (await authenticate(client, alice.token()))["user"] == alice.as_json


async def test_somebody_elses_client_id_ends_the_connection_when_the_token_comes(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice, mallory = any_server.make_user(), any_server.make_user()
    hers = await connect(any_server, alice)
    thief = await connect(any_server, client_id=hers.client_id)
    await thief.send({"type": "authenticate", "token": mallory.token()})
    end = await thief.closed()
    assert end.code == 4503
    assert end.disconnect is not None
    assert end.disconnect["reconnect"] is False
    assert (await closed_row(any_server, thief.connection_id)).close_code == 4503
    await hers.barrier()


async def test_a_renewed_token_counts_from_then_on(server: ServerProcess, connect: Connect) -> None:
    alice = server.make_user()
    client = await connect(server, token=token_ending_in(alice, 2))
    await client.request({"type": "state", "state": {"open": "here"}})
    first_end = await client.expect("token_expiring")

    token = token_ending_in(alice, 4)
    ack = await authenticate(client, token)
    assert ack["user"] == alice.as_json
    assert ack["client_id"] == client.client_id
    assert ack["session"] == {"id": client.session_id, "resumed": True, "state": {"open": "here"}}
    assert moment(ack["token_expires_at"]).timestamp() == AccessToken(token)["exp"]

    second_end = await client.expect("token_expiring")
    assert second_end["expires_at"] == ack["token_expires_at"]
    assert datetime.now(UTC) > moment(first_end["expires_at"]), "the first token still counts"
    assert (await client.request({"type": "ping"}))["type"] == "pong"


async def test_a_renewal_that_fails_changes_nothing(
    server: ServerProcess, connect: Connect
) -> None:
    alice, bob = server.make_user(), server.make_user()
    client = await connect(server, token=token_ending_in(alice, 2))
    bad = await authenticate(client, "nonsense")
    assert (bad["type"], bad["code"]) == ("error", "unauthenticated")
    others = await authenticate(client, bob.token())
    assert (others["type"], others["code"]) == ("error", "forbidden")
    assert str(row_of(server, client.connection_id).user_id) == alice.id
    assert (await client.request({"type": "ping"}))["type"] == "pong"
    # The first token still counts, with its end.
    end = await client.closed()
    assert end.code == 4401


async def test_the_client_is_told_before_its_token_ends_and_closed_when_it_does(
    any_server: ServerProcess, connect: Connect
) -> None:
    async def until_its_end(via: str) -> None:
        token = token_ending_in(any_server.make_user(), 2)
        client = await connect(any_server, token=token, via=via)
        expires_at = moment((await client.expect("token_expiring"))["expires_at"])
        assert expires_at.timestamp() == AccessToken(token)["exp"]
        assert datetime.now(UTC) < expires_at, "told too late to renew"
        end = await client.closed()
        assert end.code == 4401
        assert timedelta(0) <= datetime.now(UTC) - expires_at < timedelta(seconds=1)
        assert end.disconnect is not None
        assert end.disconnect["reconnect"] is True
        assert end.disconnect["reason"] == "the token has expired"
        told_again = [frame for frame in client.frames if frame["type"] == "token_expiring"]
        assert told_again == []

    await asyncio.gather(until_its_end("header"), until_its_end("frame"))

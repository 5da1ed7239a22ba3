"""The four ways to bring a token, the first that is present wins, and the subprotocol."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from websockets.asyncio.client import connect as websocket_connect

from ovara.accounts.tokens import RefreshToken
from tests.connecting.conftest import Connect, refused
from tests.support.client import Closed
from tests.support.database import Account
from tests.support.server import ServerProcess

pytestmark = pytest.mark.storeless

BAD = "eyJhbGciOiJIUzI1NiJ9.bm90IGEgdG9rZW4.c2lnbmF0dXJl"


@pytest.mark.parametrize("via", ["header", "subprotocol"])
async def test_a_token_in_the_handshake_authenticates(
    any_server: ServerProcess, connect: Connect, via: str
) -> None:
    alice = any_server.make_user()
    client = await connect(any_server, alice, via=via)
    assert client.welcome["authenticated"] is True
    assert client.welcome["user"] == alice.as_json
    assert (await client.request({"type": "away", "is_away": False}))["type"] == "ack"


async def test_a_token_in_the_query_is_ignored_unless_it_is_allowed(
    any_server: ServerProcess, connect: Connect
) -> None:
    for token in (any_server.make_user().token(), BAD):
        client = await connect(any_server, token=token, via="query")
        assert client.welcome["authenticated"] is False
        assert client.welcome["user"] is None


async def test_a_token_in_the_query_authenticates_where_it_is_allowed(
    open_server: ServerProcess, connect: Connect
) -> None:
    alice = open_server.make_user()
    client = await connect(open_server, alice, via="query")
    assert client.welcome["user"] == alice.as_json
    assert (await refused(connect, open_server, None, token=BAD, via="query")).code == 4401


async def test_the_first_token_that_is_present_counts(
    open_server: ServerProcess, connect: Connect
) -> None:
    header, subprotocol, query = (open_server.make_user() for _ in range(3))

    async def who(**how: Any) -> dict[str, str]:
        user: dict[str, str] = (await connect(open_server, **how)).welcome["user"]
        return user

    in_header = {"Authorization": f"Bearer {header.token()}"}
    in_subprotocols = ["ovara.v1", f"ovara.jwt.{subprotocol.token()}"]
    in_query = {"token": query.token()}
    everything = {"headers": in_header, "subprotocols": in_subprotocols, "query": in_query}
    assert await who(**everything) == header.as_json
    assert await who(subprotocols=in_subprotocols, query=in_query) == subprotocol.as_json
    assert await who(query=in_query) == query.as_json
    # A header of another kind brings no token.
    basic = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}
    assert await who(headers=basic, query=in_query) == query.as_json
    # A present one counts even where it is bad and a good one stands behind it.
    end = await refused(
        connect, open_server, None, headers={"Authorization": f"Bearer {BAD}"}, query=in_query
    )
    assert end.code == 4401
    bad_subprotocol = ["ovara.v1", f"ovara.jwt.{BAD}"]
    end = await refused(connect, open_server, None, subprotocols=bad_subprotocol, query=in_query)
    assert end.code == 4401


async def test_a_token_in_the_handshake_counts_and_not_a_later_frame_of_somebody_else(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice, bob = any_server.make_user(), any_server.make_user()
    client = await connect(any_server, alice)
    answer = await client.request({"type": "authenticate", "token": bob.token()})
    assert (answer["type"], answer["code"]) == ("error", "forbidden")


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ([], None),
        (["ovara.v1"], "ovara.v1"),
        (["chat", "ovara.v1"], "ovara.v1"),
        (["chat"], None),
        (["ovara.v2"], None),
        (["TOKEN"], None),
        (["TOKEN", "ovara.v1"], "ovara.v1"),
        (["ovara.v1", "TOKEN"], "ovara.v1"),
    ],
)
async def test_the_subprotocol_is_selected_only_if_offered_and_never_the_token(
    any_server: ServerProcess, offered: list[str], selected: str | None
) -> None:
    token = any_server.make_user().token()
    names: Any = [f"ovara.jwt.{token}" if name == "TOKEN" else name for name in offered] or None
    async with websocket_connect(any_server.ws_url, subprotocols=names, proxy=None) as socket:
        assert socket.subprotocol == selected
        assert socket.response is not None
        assert token not in str(socket.response.headers)


async def test_the_subprotocol_is_selected_for_a_refused_connection_too(
    any_server: ServerProcess, connect: Connect
) -> None:
    """Else a browser would see a failed handshake, and not the close code."""
    client = await connect(any_server, token=BAD, via="subprotocol")
    assert client.socket.subprotocol == "ovara.v1"
    assert (await client.closed()).code == 4401


def expired(account: Account) -> str:
    return account.token(lifetime=timedelta(seconds=-1))


def of_another_key(account: Account) -> str:
    head, payload, signature = account.token().split(".")
    return f"{head}.{payload}.{signature[::-1]}"


def refresh_token(account: Account) -> str:
    return str(RefreshToken.for_user(account.user))


def of_nobody(account: Account) -> str:
    from ovara.accounts.models import User

    return Account(id="", username="", user=User(username="never stored")).token()


@pytest.mark.parametrize("via", ["header", "subprotocol"])
@pytest.mark.parametrize("useless", [expired, of_another_key, refresh_token, of_nobody])
async def test_a_token_that_is_of_no_use_is_refused_with_4401(
    any_server: ServerProcess, connect: Connect, via: str, useless: Any
) -> None:
    end: Closed = await refused(
        connect, any_server, None, token=useless(any_server.make_user()), via=via
    )
    assert end.code == 4401
    assert end.disconnect is not None
    assert end.disconnect["reconnect"] is True
    assert end.disconnect["reason"]


@pytest.mark.parametrize("raw", ["", "x", "a.b.c", "ä.ö.ü", "eyJ" * 2_000])
async def test_a_header_that_holds_no_token_at_all_is_refused_with_4401(
    any_server: ServerProcess, connect: Connect, raw: str
) -> None:
    headers = {"Authorization": f"Bearer {raw}"}
    assert (await refused(connect, any_server, None, headers=headers)).code == 4401

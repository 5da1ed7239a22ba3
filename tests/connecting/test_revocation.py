"""Signing out, revoking, deactivating, deleting: out with 4401 within a second, on every door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx

from ovara.accounts.tokens import RefreshToken
from tests.connecting.conftest import Connect, closed_row, refused
from tests.support.client import WireClient
from tests.support.database import Account
from tests.support.server import ServerProcess

Rest = Callable[..., httpx.AsyncClient]


async def is_out(client: WireClient, words: str) -> None:
    """Closed with 4401 within a second from now."""
    started = time.monotonic()
    end = await client.closed()
    assert time.monotonic() - started < 1
    assert end.code == 4401
    assert end.disconnect is not None
    assert end.disconnect["reconnect"] is True
    assert end.disconnect["reason"] == words


async def is_in(*clients: WireClient) -> None:
    for client in clients:
        assert (await client.request({"type": "ping"}))["type"] == "pong"


class Browser:
    """A signed-in page: a Django session, and the CSRF token that goes with it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def sign_in(self, account: Account) -> None:
        await self.http.get("/login/")
        form = {"username": account.username, "password": account.password}
        answer = await self.post("/login/", form)
        assert answer.status_code == 302, answer.text

    async def token(self) -> str:
        answer = await self.post("/api/token/session/")
        assert answer.status_code == 200, answer.text
        access: str = answer.json()["access"]
        return access

    async def post(self, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        csrf = self.http.cookies["csrftoken"]
        return await self.http.post(path, data=form, headers={"X-CSRFToken": csrf})


async def test_signing_out_of_the_page_ends_the_connections_of_that_sign_in(
    any_server: ServerProcess, connect: Connect, rest: Rest
) -> None:
    alice = any_server.make_user()
    laptop, phone = Browser(rest(any_server)), Browser(rest(any_server))
    await laptop.sign_in(alice)
    await phone.sign_in(alice)
    token = await laptop.token()
    first = await connect(any_server, token=token, via="subprotocol")
    second = await connect(any_server, token=await laptop.token(), via="frame")
    elsewhere = await connect(any_server, token=await phone.token())
    script = await connect(any_server, alice)
    assert (await laptop.post("/logout/")).status_code in {200, 302}
    await asyncio.gather(is_out(first, "signed out"), is_out(second, "signed out"))
    await is_in(elsewhere, script)
    # Nor is the token good for another connection, or for renewing one.
    assert (await refused(connect, any_server, None, token=token)).code == 4401
    answer = await script.request({"type": "authenticate", "token": token})
    assert (answer["type"], answer["code"]) == ("error", "unauthenticated")
    late = await connect(any_server)
    answer = await late.request({"type": "authenticate", "token": token})
    assert (answer["type"], answer["code"]) == ("error", "unauthenticated")
    await is_in(script)


async def test_a_connection_counts_to_the_sign_in_of_its_newest_token(
    server: ServerProcess, connect: Connect, rest: Rest
) -> None:
    alice = server.make_user()
    old, new = RefreshToken.for_user(alice.user), RefreshToken.for_user(alice.user)
    client = await connect(server, token=str(old.access_token))
    renewal = {"type": "authenticate", "token": str(new.access_token)}
    assert (await client.request(renewal))["type"] == "ack"
    await blacklist(rest(server), old)
    await is_in(client)
    await blacklist(rest(server), new)
    await is_out(client, "signed out")


async def blacklist(http: httpx.AsyncClient, token: RefreshToken) -> None:
    answer = await http.post("/api/token/blacklist/", json={"refresh": str(token)})
    assert answer.status_code == 200, answer.text


async def test_revoking_a_refresh_token_ends_the_connections_of_its_access_tokens(
    any_server: ServerProcess, connect: Connect, rest: Rest
) -> None:
    alice = any_server.make_user()
    credentials = {"username": alice.username, "password": alice.password}
    http = rest(any_server)
    pair = (await http.post("/api/token/", json=credentials)).json()
    renewed = (await http.post("/api/token/refresh/", json={"refresh": pair["refresh"]})).json()
    other = (await http.post("/api/token/", json=credentials)).json()
    clients = [await connect(any_server, token=t) for t in (pair["access"], renewed["access"])]
    unconcerned = await connect(any_server, token=other["access"])
    answer = await http.post("/api/token/blacklist/", json={"refresh": pair["refresh"]})
    assert answer.status_code == 200
    await asyncio.gather(*(is_out(client, "signed out") for client in clients))
    await is_in(unconcerned)


async def test_what_another_process_revokes_or_switches_off_is_out_too(
    server: ServerProcess, connect: Connect
) -> None:
    """The layer is in memory, so that process reaches the server by the database alone."""
    revoked, saved, updated, deleted, unconcerned = (server.make_user() for _ in range(5))
    refresh = RefreshToken.for_user(revoked.user)
    clients: dict[str, WireClient] = {
        "revoked": await connect(server, token=str(refresh.access_token)),
        **{
            name: await connect(server, account)
            for name, account in [("saved", saved), ("updated", updated), ("deleted", deleted)]
        },
    }
    others = [await connect(server, account) for account in (unconcerned, revoked)]
    program = f"""
from ovara.accounts.models import User
from ovara.accounts.tokens import RefreshToken
RefreshToken({str(refresh)!r}).blacklist()
user = User.objects.get(username={saved.username!r})
user.is_active = False
user.save()
User.objects.filter(username={updated.username!r}).update(is_active=False)
User.objects.get(username={deleted.username!r}).delete()
"""
    done = await asyncio.to_thread(server.manage, "shell", "-c", program)
    assert done.returncode == 0, done.stderr
    deactivated = "this account was deactivated"
    await asyncio.gather(
        is_out(clients["revoked"], "signed out"),
        is_out(clients["saved"], deactivated),
        is_out(clients["updated"], deactivated),
        is_out(clients["deleted"], deactivated),
    )
    await is_in(*others)
    row = await closed_row(server, clients["saved"].connection_id)
    assert (row.close_code, row.close_reason) == (4401, deactivated)
    for account in (saved, updated, deleted):
        assert (await refused(connect, server, account)).code == 4401


async def test_an_account_that_is_switched_off_in_the_admin_is_out(
    any_server: ServerProcess, connect: Connect, rest: Rest
) -> None:
    alice, bob = any_server.make_user(), any_server.make_user()
    page = Browser(rest(any_server))
    await page.sign_in(any_server.make_user(is_staff=True))
    tabs = [await connect(any_server, alice) for _ in range(2)]
    other = await connect(any_server, bob)
    # A box that is not ticked is not sent: `is_active`.
    form = {"username": alice.username, "date_joined_0": "2026-01-01", "date_joined_1": "12:00"}
    answer = await page.post(f"/admin/accounts/user/{alice.id}/change/", form)
    assert answer.status_code == 302, answer.text
    await asyncio.gather(*(is_out(tab, "this account was deactivated") for tab in tabs))
    await is_in(other)

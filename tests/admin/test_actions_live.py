"""The actions on open connections: a real server, the admin over HTTP, real WebSockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from tests.admin.pages import readable
from tests.support.client import WireClient
from tests.support.database import PASSWORD, Account
from tests.support.server import ServerProcess

CONNECTIONS = "/admin/connections/connection/"
MakeUser = Callable[..., Account]
Connect = Callable[..., Awaitable[WireClient]]


class AdminBrowser:
    """Fills in the admin's forms, as a person with a browser would."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def sign_in(self, account: Account) -> None:
        fields = {"username": account.username, "password": PASSWORD, "next": CONNECTIONS}
        page = await self.submit("/admin/login/", **fields)
        assert "Select connection to view" in page

    async def act(self, action: str, *connection_ids: str, **fields: str) -> str:
        """Run an action of the list of connections; what the page after it says."""
        return await self.submit(
            CONNECTIONS, action=action, _selected_action=list(connection_ids), **fields
        )

    async def submit(self, address: str, **fields: str | list[str]) -> str:
        form = await self.http.get(address)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
        assert token, form.text
        answer = await self.http.post(address, data={"csrfmiddlewaretoken": token[1], **fields})
        assert answer.status_code == 200, answer.text
        return readable(answer.text)


@pytest.fixture
async def admin(server: ServerProcess, make_user: MakeUser) -> AsyncIterator[AdminBrowser]:
    async with httpx.AsyncClient(base_url=server.url, follow_redirects=True, timeout=30) as http:
        browser = AdminBrowser(http)
        await browser.sign_in(make_user(server, is_staff=True))
        yield browser


async def test_a_notice_reaches_the_chosen_connections_alone(
    server: ServerProcess, make_user: MakeUser, connect: Connect, admin: AdminBrowser
) -> None:
    alice = make_user(server)
    chosen, other = await connect(server, alice), await connect(server, alice)
    asked = await admin.act("send_notice", chosen.connection_id)
    assert f"It goes to 1 live connection of {alice.username}." in asked
    text = "Back at 5 — <soon>"
    said = await admin.act("send_notice", chosen.connection_id, send="Send", text=text)
    assert "Notice sent to 1 connection." in said
    assert await chosen.expect("notification") == {"type": "notification", "text": text}
    assert await other.pending("notification") == []


async def test_disconnect_closes_the_chosen_connections_with_4510(
    server: ServerProcess, make_user: MakeUser, connect: Connect, admin: AdminBrowser
) -> None:
    alice = make_user(server)
    first, second, other = [await connect(server, alice) for _ in range(3)]
    said = await admin.act("disconnect", first.connection_id, second.connection_id)
    assert "2 connections told to close with 4510 (disconnected by an administrator)." in said
    for socket in (first, second):
        code, _, disconnect = await socket.closed()
        assert code == 4510
        assert disconnect is not None
        assert disconnect["code"] == 4510
        assert disconnect["reconnect"] is False
        assert disconnect["reason"] == "disconnected by an administrator"
    assert await other.pending("disconnect") == []


async def test_the_list_shows_an_open_connection_as_live_and_a_closed_one_with_its_code(
    server: ServerProcess, make_user: MakeUser, connect: Connect, admin: AdminBrowser
) -> None:
    alice = make_user(server)
    socket = await connect(server, alice)
    address = f"{CONNECTIONS}?user={alice.username}"

    async def page() -> str:
        return readable((await admin.http.get(address)).text)

    assert re.search(rf"live {alice.username}", await page())
    await admin.act("disconnect", socket.connection_id)
    await socket.closed()
    async with asyncio.timeout(5):
        # The row is closed after the socket, and nothing tells this process when.
        while not re.search(rf"closed 4510 {alice.username}", await page()):  # noqa: ASYNC110 - a page
            await asyncio.sleep(0.02)


async def test_deactivating_an_account_in_the_admin_ends_its_connections(
    server: ServerProcess, make_user: MakeUser, connect: Connect, admin: AdminBrowser
) -> None:
    alice = make_user(server)
    socket = await connect(server, alice)
    page = f"/admin/accounts/user/{alice.id}/change/"
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    await admin.submit(page, username=alice.username, **joined)
    code, _, _ = await socket.closed()
    assert code == 4401

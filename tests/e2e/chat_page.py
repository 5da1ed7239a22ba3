"""The chat page as a person sees it: what to do there, and what to look at."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import Locator, Page, WebSocketRoute, expect

from tests.support.database import Account
from tests.support.rest import rest_client
from tests.support.server import ServerProcess

# The addresses of WebSockets, for `route_web_socket`.
SOCKETS = "**/ws/**"
# Makes the page believe that its tab is hidden, or shown: all tabs of a headless browser are shown.
SET_VISIBILITY = """state => {
    Object.defineProperty(document, "visibilityState", { get: () => state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


class ChatPage:
    """One tab of one person; `page` is Playwright's."""

    def __init__(self, page: Page, server: ServerProcess, account: Account) -> None:
        self.page = page
        self.server = server
        self.account = account

    @property
    def bubbles(self) -> Locator:
        """The text of every message that is shown."""
        return self.page.locator(".bubble__text")

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def status(self) -> Locator:
        return self.page.locator("#status-text")

    @property
    def banner(self) -> Locator:
        return self.page.locator("#banner")

    @property
    def typing(self) -> Locator:
        return self.page.locator("#typing")

    @property
    def people(self) -> Locator:
        """Who is here, in the head of the conversation."""
        return self.page.locator("#thread-people")

    def message(self, text: str) -> Locator:
        """The whole row of the message with this text."""
        return self.page.locator(".message", has=self.page.get_by_text(text, exact=True))

    def meta(self, text: str) -> Locator:
        """The time and state below the message with this text."""
        return self.message(text).locator(".bubble__meta")

    def conversation(self, title: str) -> Locator:
        """The row of a conversation in the list."""
        return self.page.locator(".conversation", has_text=title)

    def badge(self, title: str) -> Locator:
        """How many messages of a conversation are unread."""
        return self.conversation(title).locator(".badge")

    def person(self, account: Account) -> Locator:
        """A participant in the details."""
        return self.page.locator(f'.person[data-username="{account.username}"]')

    def fact(self, name: str) -> Locator:
        """A line of the details about the connection: "client-id", "session-id" and so on."""
        return self.page.locator(f'[data-fact="{name}"]')

    async def send(self, text: str) -> None:
        await self.composer.fill(text)
        await self.composer.press("Enter")

    async def choose(self, title: str) -> None:
        """Open a conversation by the list."""
        await self.conversation(title).click()
        await expect(self.page.get_by_role("heading", name=title)).to_be_visible()
        await self.expect_loaded()

    async def expect_online(self) -> None:
        await expect(self.status).to_have_text("Online")

    async def expect_loaded(self) -> None:
        """The conversation is joined, and its newest messages are there."""
        await expect(self.page.get_by_role("region", name="Messages")).to_have_attribute(
            "aria-busy", "false"
        )

    async def expect_messages(self, *texts: str) -> None:
        """Exactly these messages come to be shown, in this order."""
        await expect(self.bubbles).to_have_text(list(texts))

    async def open_details(self) -> None:
        panel = self.page.locator("#details")
        if await panel.is_hidden():
            await self.page.get_by_role("button", name="Details", exact=True).click()
        await expect(panel).to_be_visible()

    async def set_visibility(self, state: str) -> None:
        """Hide the tab or show it again: "hidden", "visible"."""
        await self.page.evaluate(SET_VISIBILITY, state)

    async def evaluate(self, script: str, argument: Any = None) -> Any:
        return await self.page.evaluate(script, argument)

    async def reload(self) -> None:
        await self.page.reload()
        await self.expect_online()
        await self.expect_loaded()

    async def severable(self) -> list[WebSocketRoute]:
        """Reload; the page's sockets to come, newest last, which the test can close."""
        sockets: list[WebSocketRoute] = []

        def keep(socket: WebSocketRoute) -> None:
            sockets.append(socket)
            socket.connect_to_server()

        await self.page.route_web_socket(SOCKETS, keep)
        await self.reload()
        return sockets

    async def connection_id(self) -> str:
        """As the details say it."""
        await self.open_details()
        connection_id = await self.fact("connection-id").inner_text()
        await self.page.get_by_role("button", name="Close the details").click()
        return connection_id

    async def live_connections(self) -> list[dict[str, Any]]:
        """The connections of this page's client, as REST tells them to its user."""
        client_id = await self.fact("client-id").inner_text()
        async with rest_client(self.server, self.account) as rest:
            answer = await rest.get(f"/api/clients/{client_id}/connections")
        assert answer.status_code == 200, answer.text
        live: list[dict[str, Any]] = answer.json()["connections"]
        return live

    async def disconnect_by_an_administrator(self) -> None:
        staff = self.server.make_user(is_staff=True)
        async with rest_client(self.server, staff) as rest:
            answer = await rest.delete(f"/api/connections/{await self.connection_id()}")
        assert answer.status_code == 202, answer.text

    async def expect_signed_out(self) -> None:
        await expect(self.page).to_have_url(re.compile("/login/"))

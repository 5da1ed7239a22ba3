"""Real people in real browsers: one Chromium for all tests of this folder.

    async def test_a_message_reaches_the_other(talk, chat):
        alice, bob = await chat(talk.alice, talk), await chat(talk.bob, talk)
        await alice.send("hello")
        await bob.expect_messages("hello")

A browser belongs to one event loop, so all these tests run in that of the session. Whatever the
pages' consoles complain of fails the test, unless it was announced: `pages.allow("ERR_…")`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from pytest_asyncio import is_async_test

from tests.conftest import program
from tests.e2e.chat_page import ChatPage
from tests.support import browser as chromium
from tests.support.database import Account
from tests.support.rest import rest_client
from tests.support.server import ServerProcess

# What a page says while its server is away.
SERVER_AWAY = r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE)"
expect.set_options(timeout=20_000)

OpenChat = Callable[..., Awaitable[ChatPage]]
MakeConversation = Callable[..., Awaitable[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@dataclass(frozen=True, slots=True)
class Talk:
    """A new conversation of two new accounts; alice owns it."""

    server: ServerProcess
    alice: Account
    bob: Account
    id: str
    title: str

    async def stored(self) -> list[str]:
        """The contents of all its messages as the server has stored them."""
        contents: list[str] = []
        has_more = True
        async with rest_client(self.server, self.alice) as rest:
            while has_more:
                query = {"after": len(contents), "limit": 200}
                answer = await rest.get(f"/api/conversations/{self.id}/messages", params=query)
                assert answer.status_code == 200, answer.text
                contents += [message["content"] for message in answer.json()["messages"]]
                has_more = answer.json()["has_more"]
        return contents

    async def post(self, account: Account, *contents: str) -> None:
        """Let `account` say this by REST, in this order."""
        async with rest_client(self.server, account) as rest:
            for content in contents:
                path = f"/api/conversations/{self.id}/messages"
                answer = await rest.post(path, json={"content": content})
                assert answer.status_code == 201, answer.text


StartTalk = Callable[..., Awaitable[Talk]]


@pytest.fixture
def start_talk(make_conversation: MakeConversation) -> StartTalk:
    """`await start_talk(server, title="Talk")`: a new `Talk` there."""

    async def start(server: ServerProcess, title: str = "Talk") -> Talk:
        alice, bob = server.make_user(), server.make_user()
        conversation_id = await make_conversation(server, alice, bob, title=title)
        return Talk(server, alice, bob, conversation_id, title)

    return start


@pytest_asyncio.fixture(loop_scope="session")
async def talk(start_talk: StartTalk, server: ServerProcess) -> Talk:
    """A `Talk` on the shared server."""
    return await start_talk(server)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium.launched(program("chromium")) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def pages(browser: Browser) -> AsyncIterator[chromium.BrowserPages]:
    pages = chromium.BrowserPages(browser)
    yield pages
    await pages.close()
    assert pages.errors == []


@pytest.fixture
def chat(pages: chromium.BrowserPages) -> OpenChat:
    """`await chat(account, talk)`: a chat page that is online, in a profile of its own.

    `beside=other` opens another tab of that profile; `opened=False` names no conversation in the
    address; further options are Playwright's, for the profile.
    """

    async def open_chat(
        account: Account,
        talk: Talk,
        *,
        beside: ChatPage | None = None,
        opened: bool = True,
        **context_options: object,
    ) -> ChatPage:
        page = await pages.open(
            talk.server,
            account if beside is None else None,
            path=f"/#{talk.id}" if opened else "/",
            beside=beside.page if beside else None,
            **context_options,
        )
        opened_chat = ChatPage(page, talk.server, account)
        await opened_chat.expect_online()
        if opened:
            await opened_chat.expect_loaded()
        return opened_chat

    return open_chat

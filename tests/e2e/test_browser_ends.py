"""A browser, or one of its tabs, is killed: the others see that its user has gone."""

from __future__ import annotations

import asyncio
import os
import signal

from playwright.async_api import Browser, expect

from tests.conftest import program
from tests.e2e.chat_page import ChatPage
from tests.e2e.conftest import OpenChat, Talk
from tests.support import browser as chromium

NOBODY = "Nobody else is here now"


async def test_a_tab_that_is_killed_leaves_and_another_browser_of_its_user_stays(
    talk: Talk, chat: OpenChat
) -> None:
    alice, bob = await chat(talk.alice, talk), await chat(talk.bob, talk)
    on_his_phone = await chat(talk.bob, talk)
    await alice.open_details()
    for tab in (bob, on_his_phone):
        await expect(alice.people).to_have_text(f"{talk.bob.username} is here")
        await kill_tab(tab)
    await expect(alice.people).to_have_text(NOBODY)


async def kill_tab(tab: ChatPage) -> None:
    """End the process that shows the page, in the midst of whatever it does."""
    async with tab.page.expect_event("crash"):
        # Who is killed by it gives no answer.
        crash = asyncio.ensure_future(tab.page.goto("chrome://crash"))
    crash.cancel()


async def test_a_browser_that_is_killed_leaves(talk: Talk, chat: OpenChat) -> None:
    alice = await chat(talk.alice, talk)
    async with chromium.launched(program("chromium")) as other:
        page = await chromium.BrowserPages(other).open(talk.server, talk.bob, path=f"/#{talk.id}")
        await ChatPage(page, talk.server, talk.bob).expect_online()
        await expect(alice.people).to_have_text(f"{talk.bob.username} is here")
        await kill_browser(other)
        await expect(alice.people).to_have_text(NOBODY)


async def kill_browser(browser: Browser) -> None:
    """SIGKILL to all of its processes."""
    session = await browser.new_browser_cdp_session()
    answer = await session.send("SystemInfo.getProcessInfo")
    processes = [process["id"] for process in answer["processInfo"]]
    assert processes
    for pid in processes:
        os.kill(pid, signal.SIGKILL)

"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

from playwright.async_api import Browser, Page, async_playwright

from tests.support.database import Account
from tests.support.server import ServerProcess

# As root in a container there is no sandbox; the rest keeps the browser from asking the internet.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.asynccontextmanager
async def launched(executable: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


class BrowserPages:
    """Opens pages, and remembers what went wrong in their scripts."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.errors: list[str] = []

    async def open(
        self,
        server: ServerProcess,
        account: Account | None = None,
        *,
        path: str = "/",
        beside: Page | None = None,
        **context_options: object,
    ) -> Page:
        """A page of `server`, signed in as `account` by the sign-in form.

        Each call is a profile of its own, thus a client of its own; `beside=page` opens another
        tab of that page's profile. `context_options` go to Playwright: `viewport`, `color_scheme`.
        """
        if beside is None:
            context = await self.browser.new_context(**context_options)  # type: ignore[arg-type]
        else:
            context = beside.context
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        await page.goto(server.url + path)
        if account is not None:
            await page.get_by_label(re.compile("user", re.IGNORECASE)).fill(account.username)
            await page.get_by_label(re.compile("password", re.IGNORECASE)).fill(account.password)
            await page.get_by_role(
                "button", name=re.compile("sign in|log in", re.IGNORECASE)
            ).click()
        return page

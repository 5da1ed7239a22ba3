"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import re
import string
from collections.abc import AsyncIterator
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import get_random_string
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
)

from ovara.accounts.tokens import SESSION_FAMILY_KEY, new_family
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
    """Opens pages, and remembers what went wrong in them.

    That is: errors of scripts, and what the console warns of, violations of the page's policy among
    it. What a test brings about on purpose it announces by `allow`.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self._problems: list[str] = []
        self._allowed: list[re.Pattern[str]] = []
        self._contexts: list[BrowserContext] = []

    @property
    def errors(self) -> list[str]:
        """What went wrong and was not allowed."""
        return [
            problem
            for problem in self._problems
            if not any(pattern.search(problem) for pattern in self._allowed)
        ]

    def allow(self, *patterns: str) -> None:
        """Take problems in which one of these regular expressions is found for no error."""
        self._allowed += [re.compile(pattern) for pattern in patterns]

    async def open(
        self,
        server: ServerProcess,
        account: Account | None = None,
        *,
        path: str = "/",
        beside: Page | None = None,
        **context_options: object,
    ) -> Page:
        """A page of `server`, signed in as `account`; see `sign_in`.

        Each call is a profile of its own, thus a client of its own; `beside=page` opens another
        tab of that page's profile. `context_options` go to Playwright: `viewport`, `color_scheme`.
        """
        if beside is None:
            context = await self.browser.new_context(**context_options)  # type: ignore[arg-type]
            self._contexts.append(context)
        else:
            context = beside.context
        if account is not None:
            await sign_in(context, server, account)
        page = await context.new_page()
        page.on("pageerror", lambda error: self._problems.append(str(error)))
        page.on("console", self._listen)
        await page.goto(server.url + path)
        return page

    async def close(self) -> None:
        """Close all that was opened."""
        for context in self._contexts:
            await context.close()

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._problems.append(f"{message.type}: {message.text}")


async def sign_in(context: BrowserContext, server: ServerProcess, account: Account) -> None:
    """Give the profile a new Django session of `account`, as the sign-in page would, but faster."""
    values = {
        SESSION_KEY: account.id,
        BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
        HASH_SESSION_KEY: account.user.get_session_auth_hash(),
        SESSION_FAMILY_KEY: new_family(),
    }
    row = Session(
        session_key=get_random_string(32, string.ascii_lowercase + string.digits),
        session_data=SessionStore().encode(values),
        expire_date=timezone.now() + timedelta(days=1),
    )
    server.database.run(lambda alias: row.save(using=alias))
    name = settings.SESSION_COOKIE_NAME
    await context.add_cookies(
        [{"name": name, "value": row.session_key, "url": server.url, "httpOnly": True}]
    )

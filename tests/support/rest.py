"""REST calls as a user."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from tests.support.database import Account
from tests.support.server import ServerProcess


class BearerToken(httpx.Auth):
    """A fresh access token of `account` on every request."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.account.token()}"
        yield request


def rest_client(server: ServerProcess, account: Account | None = None) -> httpx.AsyncClient:
    """A client of the server's REST surface, signed in as `account`, or as nobody."""
    return httpx.AsyncClient(
        base_url=server.url,
        auth=BearerToken(account) if account else None,
        timeout=15,
        trust_env=False,
    )

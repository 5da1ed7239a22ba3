"""Who may open a socket: the origin, and the token in one of its four places.

Both middlewares hand the server's own `send` through untouched: a wrapper would cost every frame.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from connections.protocol import SUBPROTOCOL
from ovara.accounts.tokens import VerifiedToken, verify_access_token
from ovara.conf import ovara_settings
from ovara.errors import Unauthenticated
from ovara.ids import is_id
from ovara.logs import fields

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_SUBPROTOCOL_PREFIX = "ovara.jwt."
SCOPE_KEY = "ovara"
# Pages that open sockets, our own for the most part, and their hosts.
ORIGINS_REMEMBERED = 1_000
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

log = logging.getLogger("connections")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the handshake brought.

    `token` is verified (signature, expiry), or None where none came. `problem` says why the one
    that came is of no use. `malformed` names the query's id that is no UUID.
    """

    token: VerifiedToken | None = None
    problem: str | None = None
    client_id: str | None = None
    session_id: str | None = None
    malformed: str | None = None


class OriginMiddleware:
    """Refuses, with HTTP 403, a browser's page of a foreign origin."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = header(scope, b"origin")
        if origin is not None and not origin_allowed(origin, header(scope, b"host") or ""):
            log.warning(fields("origin_refused", origin=origin[:200]))
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        await self.inner(scope, receive, send)


def origin_allowed(origin: str, host: str) -> bool:
    """Whether `origin` is the host and port that the request went to, or listed in the settings."""
    allowed = {_origin_key(one) for one in ovara_settings().allowed_origins}
    key = _origin_key(origin)
    if key is None:
        return False
    scheme, name, port = key
    return key in allowed or (name, port) == _host_key(host, scheme)


@functools.lru_cache(ORIGINS_REMEMBERED)
def _origin_key(origin: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(origin.strip().lower())
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _host_key(host: str, scheme: str) -> tuple[str, int | None] | None:
    key = _origin_key(f"{scheme}://{host}")
    return key and key[1:]


class JWTAuthMiddleware:
    """Puts `Credentials` into the scope, under "ovara"; the user is looked up at registering."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.inner({**scope, SCOPE_KEY: credentials_of(scope)}, receive, send)


def credentials_of(scope: Scope) -> Credentials:
    """Read the query's ids and the first token that is present."""
    text = scope.get("query_string", b"").decode("latin1")
    query = dict(parse_qsl(text, keep_blank_values=True)) if text else {}
    ids = {name: query[name] for name in ("client_id", "session_id") if name in query}
    for name, value in ids.items():
        if not is_id(value):
            return Credentials(malformed=name)
    raw = _raw_token(scope, query)
    if raw is None:
        return Credentials(**ids)
    try:
        return Credentials(token=verify_access_token(raw), **ids)
    except Unauthenticated as error:
        return Credentials(problem=str(error), **ids)


def _raw_token(scope: Scope, query: dict[str, str]) -> str | None:
    authorization = header(scope, b"authorization")
    if authorization is not None:
        kind, _, token = authorization.partition(" ")
        if kind.lower() == "bearer":
            return token.strip()
    for name in scope.get("subprotocols", ()):
        if name.startswith(TOKEN_SUBPROTOCOL_PREFIX):
            return str(name[len(TOKEN_SUBPROTOCOL_PREFIX) :])
    if ovara_settings().allow_query_token:
        return query.get("token")
    return None


def selected_subprotocol(scope: Scope) -> str | None:
    """Ours if it was offered; selecting another would break the client's handshake."""
    return SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in scope.get("headers", ()):
        if key == name:
            return bytes(value).decode("latin1")
    return None

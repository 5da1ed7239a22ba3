"""Handshakes that get no WebSocket at all: a foreign origin, another address. HTTP 403."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from connections.auth import origin_allowed
from tests.connecting.conftest import ALLOWED_ORIGINS
from tests.support.server import ServerProcess

pytestmark = pytest.mark.storeless


async def status(server: ServerProcess, *, origin: str | None = None, path: str = "/ws/") -> int:
    """The HTTP status of a handshake."""
    url = server.ws_url.replace("/ws/", path)
    try:
        async with websocket_connect(
            url,
            origin=None if origin is None else Origin(origin),
            proxy=None,
        ):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def test_an_origin_of_the_same_host_and_port_is_accepted(any_server: ServerProcess) -> None:
    port = any_server.port
    assert await status(any_server, origin=f"http://127.0.0.1:{port}") == 101
    # Behind a proxy that speaks TLS the page's scheme is another than ours.
    assert await status(any_server, origin=f"https://127.0.0.1:{port}") == 101
    assert await status(any_server, origin=f"HTTP://127.0.0.1:{port}") == 101


async def test_without_an_origin_it_is_no_browser_and_is_accepted(
    any_server: ServerProcess,
) -> None:
    assert await status(any_server) == 101


async def test_every_other_origin_is_refused_with_403(any_server: ServerProcess) -> None:
    port = any_server.port
    for origin in (
        *(f"http://127.0.0.1:{port + 1}", "http://127.0.0.1", "https://127.0.0.1"),
        *(f"http://localhost:{port}", f"http://127.0.0.1.evil.example:{port}"),
        *(f"http://evil.example:{port}", "http://evil.example", "null", *ALLOWED_ORIGINS),
    ):
        assert await status(any_server, origin=origin) == 403, origin


async def test_an_origin_that_is_none_is_refused(any_server: ServerProcess) -> None:
    """By ourselves with 403, or before us by the server's library with 400."""
    port = any_server.port
    for origin in ("", "nonsense", "file://", f"http://127.0.0.1:{port}x", f"127.0.0.1:{port}"):
        assert await status(any_server, origin=origin) in {400, 403}, origin


async def test_a_listed_origin_is_accepted_with_its_scheme_and_port(
    open_server: ServerProcess,
) -> None:
    for origin in ("https://chat.example.com:443", *ALLOWED_ORIGINS):
        assert await status(open_server, origin=origin) == 101, origin
    for origin in (
        *("http://chat.example.com", "https://chat.example.com:8443", "https://example.com"),
        *("https://localhost:5173", "http://localhost:5174", "https://x.chat.example.com", "null"),
    ):
        assert await status(open_server, origin=origin) == 403, origin
    assert await status(open_server, origin=f"http://127.0.0.1:{open_server.port}") == 101


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://chat.example.com", "chat.example.com", True),
        ("https://chat.example.com", "chat.example.com", True),
        ("https://chat.example.com", "chat.example.com:443", True),
        ("https://chat.example.com:443", "chat.example.com", True),
        ("http://[2001:db8::1]:8000", "[2001:db8::1]:8000", True),
        ("http://Chat.Example.com", "chat.example.COM", True),
        ("https://chat.example.com", "chat.example.com:80", False),
        ("http://chat.example.com:8000", "chat.example.com", False),
        ("http://chat.example.com", "other.example.com", False),
        ("http://chat.example.com", "", False),
        ("http://", "", False),
        ("null", "null", False),
    ],
)
def test_a_port_that_is_not_written_is_the_schemes_own(
    origin: str, host: str, allowed: bool
) -> None:
    assert origin_allowed(origin, host) is allowed


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/x", "/ws//", "/WS/", "/api/", "/ws/?a/b", "/x"])
async def test_there_is_one_address_and_every_other_is_403(
    any_server: ServerProcess, path: str
) -> None:
    assert await status(any_server, path=path) == (101 if path.startswith("/ws/?") else 403)


async def test_a_refused_origin_or_path_leaves_no_row_and_a_line_in_the_log(
    any_server: ServerProcess,
) -> None:
    mark = any_server.log_mark()
    assert await status(any_server, origin="https://evil.example") == 403
    await any_server.wait_for_log("origin_refused origin=https://evil.example", since=mark)
    assert "connected connection=" not in "\n".join(any_server.logs().splitlines()[mark:])

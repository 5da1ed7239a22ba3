"""The HTTP side of a WebSocket: the request as an ASGI scope, and the refusals.

uvicorn has parsed the request already, and hands it over written out anew: the parts are where
they belong, one line a header, names in lower case.
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

Headers = list[tuple[bytes, bytes]]

_KEY_BYTES = 16
# RFC 6455, 1.3: shows that the server knows the protocol; no secret.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class BadHandshake(Exception):
    """A request that is no WebSocket handshake of RFC 6455; `status` is the answer."""

    def __init__(self, status: HTTPStatus, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or []


def parse(request: bytes) -> tuple[bytes, bytes, Headers]:
    """The method, the target and the headers of a request."""
    lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    method, target, _ = lines[0].split(b" ", 2)
    headers = []
    for line in lines[1:]:
        name, _, value = line.partition(b": ")
        headers.append((name, value))
    return method, target, headers


def values(headers: Headers, name: bytes) -> list[str]:
    """The comma-separated values of all headers of that name."""
    found: list[str] = []
    for key, value in headers:
        if key == name:
            found += [part.strip() for part in value.decode("latin1").split(",")]
    return found


def check(method: bytes, headers: Headers) -> str:
    """The key of a right handshake (RFC 6455, 4.2.1).

    Raises:
        BadHandshake: it is none.
    """
    if method != b"GET":
        raise BadHandshake(
            HTTPStatus.METHOD_NOT_ALLOWED, "Use GET for a WebSocket.", [(b"allow", b"GET")]
        )
    if values(headers, b"sec-websocket-version") != ["13"]:
        raise BadHandshake(
            HTTPStatus.UPGRADE_REQUIRED,
            "Sec-WebSocket-Version must be 13.",
            [(b"sec-websocket-version", b"13")],
        )
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    try:
        right = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == _KEY_BYTES
    except binascii.Error:
        right = False
    if not right:
        raise BadHandshake(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64.")
    return keys[0].decode("ascii")


def scope_of(
    target: bytes,
    headers: Headers,
    *,
    scheme: str,
    server: tuple[str, int | None] | None,
    client: tuple[str, int] | None,
    root_path: str,
    asgi_version: str,
    state: dict[str, Any],
) -> dict[str, Any]:
    """The ASGI scope, without extensions."""
    raw_path, _, query = target.partition(b"?")
    return {
        "type": "websocket",
        "asgi": {"version": asgi_version, "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": scheme,
        "server": server,
        "client": client,
        "root_path": root_path,
        "path": root_path + unquote(raw_path.decode("ascii")),
        "raw_path": root_path.encode("ascii") + raw_path,
        "query_string": query,
        "headers": headers,
        "subprotocols": [name for name in values(headers, b"sec-websocket-protocol") if name],
        "state": state,
    }


def acceptance(key: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The answer to a right handshake: frames come behind it."""
    accept = base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID).digest())  # noqa: S324
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"connection: upgrade",
        b"upgrade: websocket",
        b"sec-websocket-accept: " + accept,
        *(name + b": " + value for name, value in headers),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def refusal(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A whole HTTP response; the connection is closed behind it."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}".encode("ascii")]
    given = {name.lower() for name, _ in headers}
    lines += [name + b": " + value for name, value in headers if name.lower() != b"connection"]
    if b"date" not in given:
        lines.append(b"date: " + email.utils.formatdate(usegmt=True).encode("ascii"))
    if b"content-type" not in given and body:
        lines.append(b"content-type: text/plain; charset=utf-8")
    if b"content-length" not in given:
        lines.append(b"content-length: " + str(len(body)).encode("ascii"))
    lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body

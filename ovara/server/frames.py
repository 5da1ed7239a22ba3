"""WebSocket frames as bytes, and the ASGI extension that takes them.

A server's frames are not masked: a publication's frame is the same bytes for every member of its
audience. So it is built once, and written to each connection as it is.

A server that has the extension puts a `FrameTransport` into `scope["extensions"][EXTENSION]`. It is
of use from the accept on, beside the plain `send`, and keeps one order with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

EXTENSION = "ovara.frames"

_TEXT = 0x81  # a whole message
_BINARY = 0x82
CLOSE = 0x88
_PING = 0x89
_PONG = 0x8A
# Most bytes of a close frame's reason (RFC 6455, 5.5).
MAX_REASON_BYTES = 123
# The mask bit of the length byte; the bytes before a masked payload of at most 125.
_MASKED = 0x80
_MASKED_HEADER_BYTES = 6

# Below 3000, for no close frame: 1004 is reserved, the others say that there was no frame.
_NOT_FOR_FRAMES = frozenset({1004, 1005, 1006})

_code = struct.Struct("!H").pack
_short = struct.Struct("!BB").pack
_medium = struct.Struct("!BBH").pack
_long = struct.Struct("!BBQ").pack


class Handler(Protocol):
    """What has a connection after `FrameTransport.take_over`. None of these may wait.

    An exception that one of them raises is logged and ends the connection with 1011, as one that
    the application raises does.
    """

    def text_received(self, text: str, /) -> object:
        """A text message came."""

    def binary_received(self, data: bytes, /) -> object:
        """A binary message came."""

    def closed(self, code: int, reason: str, /) -> object:
        """It is over: ASGI's `websocket.disconnect`.

        Called once, the last of all calls, and never from within a call of the transport's.
        """


class FrameTransport(Protocol):
    """The server's side of one accepted connection.

    `is_writable` is false while more waits in the transport's buffer than its high-water mark.
    `writing_resumed` is for the application to set: it is called when the buffer has gone down, and
    a last time at the end, which sets it back to None. It may not wait.
    """

    is_writable: bool
    writing_resumed: Callable[[], object] | None

    def take_over(self, handler: Handler, /) -> None:
        """Give the connection to `handler`, which gets at once what waits for `receive`.

        From then on the application may return, and the connection lives on: so an idle one has no
        task, no scope and no coroutine. One that does not return must not call `receive` any more.

        Raises:
            RuntimeError: it is not accepted, or was taken over already.
        """

    def write_frame(self, frame: bytes, /) -> None:
        """Write one or more whole frames; never waits. After the end it does nothing."""

    def buffered_bytes(self) -> int:
        """How much the peer has not taken yet, of what was written."""

    def close(self, code: int, reason: str, /) -> None:
        """Send a close frame behind what was written; never waits."""


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return _short(first, size) + payload
    if size < 65_536:
        return _medium(first, 126, size) + payload
    return _long(first, 127, size) + payload


def text_frame(text: str) -> bytes:
    """`text` as one unmasked text message (RFC 6455, 5.2)."""
    return _frame(_TEXT, text.encode())


def binary_frame(data: bytes) -> bytes:
    """`data` as one unmasked binary message."""
    return _frame(_BINARY, data)


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; a reason too long for one is cut between two characters."""
    cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return _frame(CLOSE, _code(code) + cut.encode())


def is_close_code(code: int) -> bool:
    """Whether a close frame may bear it (RFC 6455, 7.4, and IANA's registry of these codes)."""
    return (1000 <= code <= 1014 and code not in _NOT_FOR_FRAMES) or 3000 <= code <= 4999


def read_close(data: bytes) -> tuple[int, str] | None:
    """The code (0 where there is none) and the reason, where `data` is a client's close frame as it
    should be, and nothing else.

    None for all else: the parser reads that, and says what is wrong with it.
    """
    size = len(data) - _MASKED_HEADER_BYTES
    if not 0 <= size <= MAX_REASON_BYTES + 2 or data[:2] != _short(CLOSE, _MASKED | size):
        return None
    if size == 0:
        return 0, ""
    mask = int.from_bytes((data[2:6] * (size // 4 + 1))[:size], "big")
    payload = (int.from_bytes(data[6:], "big") ^ mask).to_bytes(size, "big")
    code = int.from_bytes(payload[:2], "big")
    if size == 1 or not is_close_code(code):
        return None
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        return None


def pong_frame(data: bytes) -> bytes:
    """The answer to a ping that carried `data`."""
    return _frame(_PONG, data)


PING_FRAME = _frame(_PING, b"")

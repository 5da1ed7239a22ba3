"""picows reads the frames, for one connection after the other.

A parser of picows costs some kilobytes, and has something to remember only within a frame. So a
connection has one for as long as it takes to read what has come; only an unfinished frame keeps it.

picows wants to be a connection's whole protocol, from the handshake on: each parser is handed a
handshake of ours and a transport that leads nowhere. What it would write is the close frame for a
frame that breaks the protocol; the connection writes that itself.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from picows import (
    WSAutoPingStrategy,
    WSFrame,
    WSListener,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

# Not in picows' public names, but its constructor is what `ws_create_server` calls: the version is
# pinned, and tests/server would notice.
from picows.picows import WSProtocol  # type: ignore[attr-defined]

# An adapter, because picows would make a logger of its own for every parser from a plain one. What
# it reports at INFO (buffer sizes) is nobody's news.
_quiet = logging.getLogger("ovara.server.picows")
_quiet.setLevel(logging.CRITICAL)
_log: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_quiet, {})
log = logging.getLogger("uvicorn.error")

# Room for nearly every frame. A greater one makes a parser grow, which is then not kept.
BUFFER_BYTES = 8_192
# Parsers at rest: as many as had unfinished frames of late, but no more than this.
MAX_AT_REST = 16

_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Receiver(Protocol):
    """Whose frames are read."""

    def frame_received(self, frame: WSFrame, /) -> object:
        """A whole frame; its payload is good until this returns."""


class _Listener(WSListener):
    """What picows hands its frames to. It knows no parser: a circle with a parser's buffer would
    stay until the garbage collector's next long round, minutes later."""

    __slots__ = ("receiver", "unread")

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        # Bytes that came behind the frame that was read last.
        self.unread = 0

    def answer(self, request: object) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), self)

    def on_ws_frame(self, transport: Any, frame: WSFrame) -> None:
        self.unread = frame.tail_size
        if self.receiver is not None:
            try:
                self.receiver.frame_received(frame)
            except Exception:
                # picows would not say a word.
                log.exception("a frame could not be dealt with")


class Parser:
    """Reads frames.

    Args:
        max_size: bytes of the largest payload that is taken.
    """

    __slots__ = ("_listener", "_picows", "is_large")

    def __init__(self, max_size: int) -> None:
        self._listener = _Listener()
        # No host, path and headers: those are a client's. No timeout, pings or pongs of its own.
        self._picows = WSProtocol(
            *(None, None, False, self._listener.answer, _log, False, None),
            *(False, 0, 0, WSAutoPingStrategy.PING_WHEN_IDLE, False, max_size, None, BUFFER_BYTES),
        )
        self._picows.connection_made(_Nowhere())
        # Whether it has grown for a large frame.
        self.is_large = False
        self._feed(_HANDSHAKE)

    def read(self, data: bytes, receiver: Receiver) -> bool:
        """Hand the frames in `data` to `receiver`.

        Returns:
            Whether it ends with the end of a frame: then any connection's data may come next.
        """
        self._listener.receiver = receiver
        self._feed(data)
        self._listener.receiver = None
        # Nothing comes behind a close frame: picows would not take a second one.
        return not self._listener.unread and self._picows.transport.close_handshake is None

    @property
    def violation(self) -> tuple[int, str] | None:
        """The close code and the reason, where a frame broke the protocol: no more is read then."""
        handshake = self._picows.transport.close_handshake
        sent = handshake.sent if handshake else None
        return (int(sent.code), sent.reason or "") if sent else None

    def _feed(self, data: bytes) -> None:
        """As a transport would."""
        while data:
            buffer = self._picows.get_buffer(-1)
            room, size = len(buffer), len(data)
            if room > BUFFER_BYTES:
                self.is_large = True
            rest = b""
            if size > room:
                data, rest, size = data[:room], data[room:], room
            self._listener.unread = size
            buffer[:size] = data
            self._picows.buffer_updated(size)
            data = rest


class Parsers:
    """The parsers of one server that have nothing to read.

    Args:
        max_size: see `Parser`.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._at_rest: list[Parser] = []

    def take(self) -> Parser:
        """One that begins with a frame."""
        return self._at_rest.pop() if self._at_rest else Parser(self._max_size)

    def give_back(self, parser: Parser) -> None:
        """One that is between two frames."""
        if len(self._at_rest) < MAX_AT_REST and not parser.is_large:
            self._at_rest.append(parser)


class _Nowhere:
    """What picows asks of a transport and its socket."""

    def get_extra_info(self, name: str) -> Any:
        # With a socket that is not TLS it would write by itself.
        return self if name in {"socket", "ssl_object"} else None

    def setsockopt(self, *_: int) -> None: ...

    def getsockopt(self, *_: int) -> int:
        return 0

    def fileno(self) -> int:
        return -1

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None: ...

    def writelines(self, data: list[bytes]) -> None: ...

    def close(self) -> None: ...

"""An accepted WebSocket: picows reads and answers pings, finished frames are written.

picows' protocol object takes over uvicorn's transport. It wants to answer a handshake itself, so it
is handed one that holds only the key, and the headers for its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

# Not in picows' public names, but its constructor is what `ws_create_server` calls: the version is
# pinned, and tests/server would notice.
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from ovara.server.fragments import Fragments, ProtocolViolated
from ovara.server.keepalive import Keepalive
from ovara.server.mailbox import Mailbox

# An adapter, because picows would make a logger of its own for every connection from a plain one.
# What it reports at INFO (buffer sizes of every connection) is nobody's news.
_quiet = logging.getLogger("ovara.server.picows")
_quiet.setLevel(logging.CRITICAL)
_picows_log: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_quiet, {})
log = logging.getLogger("uvicorn.error")
# `Any` for picows' transport and codes: it declares enums where 4000 and above come as integers.

# How long the peer may take to answer our close before the connection is just cut.
CLOSE_SECONDS = 10.0
# Messages that may wait for `receive` before no more are read.
MAX_WAITING = 16
# Most bytes of a close frame's reason (RFC 6455, 5.5).
MAX_REASON_BYTES = 123

NO_CODE = 1005
ABNORMAL = 1006
_UNSENDABLE = frozenset({1004, NO_CODE, ABNORMAL, 1015})

_TEXT, _PING, _CLOSE = WSMsgType.TEXT, WSMsgType.PING, WSMsgType.CLOSE
_DATA = frozenset({_TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION})
_REQUEST = (
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)


class Connection(WSListener):
    """One open WebSocket.

    Args:
        transport: uvicorn's.
        mailbox: where ASGI's events go.
        max_size: bytes of the largest message that is taken.
        keepalive: who sends pings, if anybody does.
        on_lost: called once, when the transport is gone.
    """

    __slots__ = (
        "_close_timer",
        "_fragments",
        "_heard",
        "_keepalive",
        "_mailbox",
        "_max_size",
        "_on_lost",
        "_reading_paused",
        "_transport",
        "_writable",
        "_ws",
        "ended",
        "is_writable",
        "pinged_at",
        "text_received",
        "writing_resumed",
    )

    def __init__(
        self,
        transport: Any,
        mailbox: Mailbox,
        *,
        max_size: int,
        keepalive: Keepalive | None,
        on_lost: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._mailbox = mailbox
        self._max_size = max_size
        self._keepalive = keepalive
        self._on_lost = on_lost
        self._ws: Any = None
        self._fragments: Fragments | None = None
        self._writable: asyncio.Future[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._reading_paused = False
        self._heard = False
        # No more frames go out: the application or the peer has closed, or the peer is gone.
        self.ended = False
        self.is_writable = True
        self.writing_resumed: Callable[[], object] | None = None
        self.text_received: Callable[[str], object] | None = None
        self.pinged_at = 0.0

    def open(self, key: str, headers: list[tuple[str, str]], early: bytes) -> None:
        """Answer 101 and take over the transport; `early` is what the peer sent before that."""

        def answer(_: object) -> WSUpgradeResponseWithListener:
            return WSUpgradeResponseWithListener(
                WSUpgradeResponse.create_101_response(headers), self
            )

        # Host, path and headers are a client's; no timeout, pings or pongs of its own.
        picows = WSProtocol(
            *(None, None, False, answer, _picows_log, False, None),
            *(False, 0, 0, WSAutoPingStrategy.PING_WHEN_IDLE, False, self._max_size, None, 2048),
        )
        picows.connection_made(self._transport)
        _feed(picows, _REQUEST.format(key=key).encode("ascii") + early)
        self._transport.set_protocol(picows)
        if self._keepalive is not None:
            self._keepalive.add(self)

    # What the application does.

    def write_frame(self, frame: bytes) -> None:
        if not self.ended:
            self._transport.write(frame)

    def buffered_bytes(self) -> int:
        return int(self._transport.get_write_buffer_size())

    async def writable(self) -> None:
        """Wait until the peer has taken most of what was written, or is gone."""
        while not (self.is_writable or self.ended):
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait a while for the peer's.

        Raises:
            ValueError: no frame may bear that code.
        """
        if not 1000 <= code <= 4999 or code in _UNSENDABLE:
            raise ValueError(f"{code} is no code for a close frame (RFC 6455, 7.4).")
        if self.ended:
            return
        self._disconnected(code, reason)
        self._send_close(code, reason)

    def taken(self) -> None:
        """The application took an event."""
        if self._reading_paused and not len(self._mailbox):
            self._reading_paused = False
            self._transport.resume_reading()

    def shutdown(self, code: int) -> None:
        """The server ends: say so, and go as soon as everything is written."""
        self.close(code, "")
        self._transport.close()

    # What picows reports.

    def on_ws_connected(self, transport: Any) -> None:
        self._ws = transport

    def on_ws_frame(self, transport: Any, frame: WSFrame) -> None:
        self._heard = True
        kind = frame.msg_type
        try:
            if kind is _CLOSE:
                self._peer_closed(transport)
            elif frame.rsv1 or frame.rsv2 or frame.rsv3:
                raise ProtocolViolated(WSCloseCode.PROTOCOL_ERROR, "no extension was negotiated")
            elif kind is _TEXT and frame.fin and self._fragments is None:
                self._text(frame.get_payload_as_utf8_text())
            elif kind in _DATA:
                self._fragment(kind, frame)
            elif kind is _PING:
                transport.send_pong(frame.get_payload_as_bytes())
        except UnicodeDecodeError:
            self._fail(WSCloseCode.INVALID_TEXT, "the text is no UTF-8")
        except ProtocolViolated as error:
            self._fail(error.code, str(error))

    def on_ws_disconnected(self, transport: Any) -> None:
        sent = transport.close_handshake.sent if transport.close_handshake else None
        # picows itself closes where the peer's frames make no sense.
        self._disconnected(int(sent.code) if sent else ABNORMAL, sent.reason if sent else "")
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._keepalive is not None:
            self._keepalive.discard(self)
        self.resume_writing()
        self._ws = self._close_timer = self.text_received = self.writing_resumed = None
        self._on_lost()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
        if self.writing_resumed is not None:
            self.writing_resumed()

    # Pings, for `Keepalive`.

    def was_heard(self) -> bool:
        heard, self._heard = self._heard, False
        return heard

    def ping(self) -> None:
        if self._ws is not None:
            self._ws.send_ping()

    def ping_unanswered(self) -> None:
        log.info("a peer does not answer pings")
        self._disconnected(ABNORMAL, "the peer does not answer pings")
        self._transport.abort()

    # Messages.

    def _text(self, text: str) -> None:
        if self.ended:
            return
        # What came before the application was ready for that comes first.
        if self.text_received is not None and not len(self._mailbox):
            self.text_received(text)
        else:
            self._deliver({"type": "websocket.receive", "text": text})

    def _fragment(self, kind: WSMsgType, frame: WSFrame) -> None:
        if self._fragments is None:
            self._fragments = Fragments(self._max_size)
        whole = self._fragments.add(kind, frame.fin, frame.get_payload_as_bytes())
        if whole is None:
            return
        self._fragments = None
        if isinstance(whole, str):
            self._text(whole)
        elif not self.ended:
            self._deliver({"type": "websocket.receive", "bytes": whole})

    def _deliver(self, event: dict[str, Any]) -> None:
        self._mailbox.put(event)
        if len(self._mailbox) >= MAX_WAITING and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    # The end.

    def _peer_closed(self, transport: Any) -> None:
        received = transport.close_handshake.recv
        code = int(received.code)
        if code > 4999:
            raise ProtocolViolated(WSCloseCode.PROTOCOL_ERROR, "no such close code")
        if not self.ended:
            self._disconnected(code or NO_CODE, received.reason or "")
            # An answer bears the same code, or none.
            self._send_close(code or 1000, "")
        self._transport.close()

    def _fail(self, code: Any, reason: str) -> None:
        if not self.ended:
            self._disconnected(int(code), reason)
            self._send_close(int(code), reason)
        self._transport.close()

    def _disconnected(self, code: int, reason: str) -> None:
        """Tell the application, once; nothing goes out from now on."""
        if self.ended:
            return
        self.ended = True
        self._mailbox.put({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def _send_close(self, code: int, reason: str) -> None:
        if self._ws is None:
            # It never got as far as its 101.
            self._transport.abort()
        if self._ws is None or self._transport.is_closing():
            return
        cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        self._ws.send_close(code, cut)
        if self._reading_paused:
            # The peer's close is still to be read.
            self._reading_paused = False
            self._transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._close_timer = loop.call_later(CLOSE_SECONDS, self._transport.abort)


def _feed(protocol: Any, data: bytes) -> None:
    """Give a buffered protocol bytes, as a transport would."""
    while data:
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]

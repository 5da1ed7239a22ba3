"""An accepted WebSocket: a parser reads, finished frames are written, a handler gets messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from picows import WSFrame, WSMsgType

from ovara.server.fragments import PROTOCOL_ERROR, Fragments, ProtocolViolated
from ovara.server.frames import (
    CLOSE,
    PING_FRAME,
    Handler,
    close_frame,
    is_close_code,
    pong_frame,
    read_close,
)
from ovara.server.mailbox import Mailbox
from ovara.server.parser import Parser
from ovara.server.shared import Shared

log = logging.getLogger("uvicorn.error")

# How long the peer may take to answer our close before the connection is just cut.
CLOSE_SECONDS = 10.0
# How long to read on, in vain, after a violation. With bytes unread the kernel would reset the
# connection, and the peer might never see why.
LINGER_SECONDS = 0.05

NO_CODE = 1005
ABNORMAL = 1006
INVALID_TEXT = 1007
INTERNAL_ERROR = 1011
RESTARTING = 1012

_TEXT, _PING, _CLOSE = WSMsgType.TEXT, WSMsgType.PING, WSMsgType.CLOSE
_DATA = frozenset({_TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION})


class Connection(asyncio.Protocol):
    """One open WebSocket; the `FrameTransport` of the extension.

    Args:
        transport: uvicorn's.
        mailbox: where ASGI's events go, until a handler takes over.
        shared: what it has in common with the server's others.
    """

    __slots__ = (
        "_close_timer",
        "_fragments",
        "_handler",
        "_heard",
        "_is_open",
        "_parser",
        "_reads",
        "_shared",
        "_transport",
        "_writable",
        "ended",
        "is_writable",
        "pinged_at",
        "slot",
        "writing_resumed",
    )

    def __init__(self, transport: Any, mailbox: Mailbox, shared: Shared) -> None:
        self._transport = transport
        # None when the one that took over has been told of the end.
        self._handler: Handler | None = mailbox
        self._shared = shared
        self._is_open = False
        # Nothing is read behind a close frame, or what breaks the protocol.
        self._reads = True
        # While a frame is unfinished.
        self._parser: Parser | None = None
        self._fragments: Fragments | None = None
        self._writable: asyncio.Future[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._heard = False
        # No more frames go out: the application or the peer has closed, or the peer is gone.
        self.ended = False
        self.is_writable = True
        self.writing_resumed: Callable[[], object] | None = None
        self.pinged_at = 0.0
        self.slot: int | None = None

    def open(self, early: bytes) -> None:
        """Take over the transport behind the 101; `early` is what the peer sent before that."""
        self._is_open = True
        self._transport.set_protocol(self)
        self._shared.connections.add(self)
        if self._shared.keepalive is not None:
            self._shared.keepalive.add(self)
        if early:
            self.data_received(early)

    # What the application does.

    @property
    def is_taken_over(self) -> bool:
        """Whether an application that returns leaves the connection to a handler."""
        return not isinstance(self._handler, Mailbox)

    def take_over(self, handler: Handler) -> None:
        """See `FrameTransport`."""
        mailbox = self._handler
        if not self._is_open or not isinstance(mailbox, Mailbox):
            raise RuntimeError("Take a connection over once, after it was accepted.")
        self._handler = handler
        for event in mailbox.take_all():
            if event["type"] == "websocket.disconnect":
                self._tell_end_soon(event["code"], event["reason"])
            elif event["type"] == "websocket.receive":
                self._hand_on(event["bytes"] if event.get("text") is None else event["text"])

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
        if not is_close_code(code):
            raise ValueError(f"{code} is no code for a close frame (RFC 6455, 7.4).")
        if self.ended:
            return
        self._disconnected(code, reason)
        self._send_close(code, reason)

    def shutdown(self) -> None:
        """The server ends: say so, and go as soon as everything is written."""
        self.close(RESTARTING, "")
        self._transport.close()

    # What the transport and the parser report.

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if not self._reads:
            return
        if data[0] == CLOSE and self._parser is None and (end := read_close(data)) is not None:
            # A parser that has read one can't be used again, and a new one costs many times this.
            self._peer_closed(*end)
            return
        parser = self._parser or self._shared.parsers.take()
        if parser.read(data, self):
            self._parser = None
            self._shared.parsers.give_back(parser)
        elif (violation := parser.violation) is not None:
            self._fail(*violation)
        else:
            self._parser = parser

    def frame_received(self, frame: WSFrame) -> None:
        """A whole frame, perhaps of a message in several."""
        kind = frame.msg_type
        message: str | bytes | None = None
        try:
            if frame.rsv1 or frame.rsv2 or frame.rsv3:
                raise ProtocolViolated(PROTOCOL_ERROR, "no extension was negotiated")
            if kind is _CLOSE:
                # An enum, or an integer where picows has no name for it.
                code: Any = frame.get_close_code()
                if frame.payload_size and not is_close_code(int(code)):
                    raise ProtocolViolated(PROTOCOL_ERROR, "no such close code")
                self._peer_closed(int(code), frame.get_close_reason())
            elif kind is _TEXT and frame.fin and self._fragments is None:
                message = frame.get_payload_as_utf8_text()
            elif kind in _DATA:
                message = self._fragment(kind, frame)
            elif kind is _PING and self.is_writable:
                # One that does not read gets no more of them.
                self.write_frame(pong_frame(frame.get_payload_as_bytes()))
        except UnicodeDecodeError:
            self._fail(INVALID_TEXT, "the text is no UTF-8")
        except ProtocolViolated as error:
            self._fail(error.code, str(error))
        if message is not None and not self.ended:
            self._hand_on(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._disconnected(ABNORMAL, "")
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._shared.keepalive is not None:
            self._shared.keepalive.discard(self)
        self.resume_writing()
        self._parser = self._close_timer = self.writing_resumed = None
        self._shared.connections.discard(self)

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
        self.write_frame(PING_FRAME)

    def ping_unanswered(self) -> None:
        log.info("a peer does not answer pings")
        self._disconnected(ABNORMAL, "the peer does not answer pings")
        self._transport.abort()

    # Messages.

    def _hand_on(self, message: str | bytes) -> None:
        """Give a message to the handler, whose errors are the application's."""
        handler = self._handler
        assert handler is not None
        try:
            if isinstance(message, str):
                handler.text_received(message)
            else:
                handler.binary_received(message)
        except Exception:
            log.exception("Exception in ASGI application")
            self.close(INTERNAL_ERROR, "")

    def _fragment(self, kind: WSMsgType, frame: WSFrame) -> str | bytes | None:
        """Keep a part of a message; the whole message with its last part."""
        if self._fragments is None:
            self._fragments = Fragments(self._shared.max_size)
        whole = self._fragments.add(kind, frame.fin, frame.get_payload_as_bytes())
        if whole is not None:
            self._fragments = None
        return whole

    # The end.

    def _peer_closed(self, code: int, reason: str | None) -> None:
        if not self.ended:
            self._disconnected(code or NO_CODE, reason or "")
            # An answer bears the same code, or none.
            self._send_close(code or 1000, "")
        self._reads = False
        self._transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """The peer breaks the protocol."""
        if not self.ended:
            self._disconnected(code, reason)
            self._send_close(code, reason)
        self._reads = False
        self._parser = None
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)

    def _disconnected(self, code: int, reason: str) -> None:
        """Tell the application, once; nothing goes out from now on."""
        if self.ended:
            return
        self.ended = True
        self._tell_end_soon(code, reason)
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def _tell_end_soon(self, code: int, reason: str) -> None:
        # In a later turn: the handler may be the one who calls.
        asyncio.get_running_loop().call_soon(self._tell_end, code, reason)

    def _tell_end(self, code: int, reason: str) -> None:
        handler = self._handler
        assert handler is not None
        if self.is_taken_over:
            self._handler = None
        handler.closed(code, reason)

    def _send_close(self, code: int, reason: str) -> None:
        if not self._is_open:
            # It never got as far as its 101.
            self._transport.abort()
        if self._transport.is_closing():
            return
        self._transport.write(close_frame(code, reason))
        # The peer's close is still to be read.
        self._transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._close_timer = loop.call_later(CLOSE_SECONDS, self._transport.abort)

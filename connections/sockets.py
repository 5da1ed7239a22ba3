"""The ASGI server's side of a WebSocket, as the manager wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from ovara.server.frames import EXTENSION, FrameTransport

Send = Callable[[dict[str, Any]], Awaitable[None]]

# How long a peer may take to read what was sent before the close, and to answer the close.
CLOSE_SECONDS = 2.0


class AsgiSocket:
    """Sends through an ASGI `send`, which waits where the server has backpressure."""

    __slots__ = ("_send",)

    def __init__(self, send: Any) -> None:
        self._send = send

    def send_text(self, text: str) -> Coroutine[Any, Any, Any]:
        """The server's own coroutine: nothing of ours is between it and the caller."""
        coroutine: Coroutine[Any, Any, Any] = self._send({"type": "websocket.send", "text": text})
        return coroutine

    async def close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


class UvicornSocket(AsgiSocket):
    """Cuts off a peer that does not read to the end: uvicorn would wait for it for ever, and with
    it the end of the server."""

    __slots__ = ("_transport",)

    def __init__(self, send: Any, transport: asyncio.Transport) -> None:
        super().__init__(send)
        self._transport = transport

    async def close(self, code: int, reason: str) -> None:
        # Harmless for one that is closed by then.
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)
        await super().close(code, reason)


class DaphneSocket(AsgiSocket):
    """Adds the backpressure that Daphne's `send`, which never waits, does not have.

    Twisted tells a registered push producer when the transport's buffer is full and when it is
    empty again (IPushProducer); between the two, `send_text` waits.
    """

    __slots__ = ("_protocol", "_writable")

    def __init__(self, send: Any, protocol: Any) -> None:
        super().__init__(send)
        self._protocol = protocol
        self._writable: asyncio.Event | None = None
        # The HTTP channel that the handshake came through is still registered.
        protocol.transport.unregisterProducer()
        protocol.transport.registerProducer(self, True)

    def send_text(self, text: str) -> Coroutine[Any, Any, Any]:
        if self._writable is None:
            return super().send_text(text)
        return self._send_later(text, self._writable)

    async def _send_later(self, text: str, writable: asyncio.Event) -> None:
        await writable.wait()
        await super().send_text(text)

    async def close(self, code: int, reason: str) -> None:
        # A transport with a paused producer would wait for it before it lets the connection go.
        self.release()
        self._protocol.closeHandshakeTimeout = CLOSE_SECONDS
        await super().close(code, reason)

    def release(self) -> None:
        """Stop listening to the transport."""
        self._protocol.transport.unregisterProducer()
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._writable = asyncio.Event()

    def resumeProducing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def stopProducing(self) -> None:
        self.resumeProducing()


class FrameSocket(AsgiSocket):
    """Takes finished frames too: the server has the extension of `ovara.server.frames`."""

    __slots__ = ("transport",)

    def __init__(self, send: Any, transport: FrameTransport) -> None:
        super().__init__(send)
        self.transport = transport


def socket_for(scope: Mapping[str, Any], send: Any) -> AsgiSocket:
    """The socket for an accepted connection, whichever server it is of."""
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    if extension is not None:
        return FrameSocket(send, extension["transport"])
    protocol: Any = send.args[0] if isinstance(send, partial) and send.args else None
    if hasattr(getattr(protocol, "transport", None), "registerProducer"):
        return DaphneSocket(send, protocol)
    transport: Any = getattr(getattr(send, "__self__", None), "transport", None)
    # Not by its class: uvloop's transports are asyncio's in everything but that.
    if callable(getattr(transport, "abort", None)):
        return UvicornSocket(send, transport)
    return AsgiSocket(send)

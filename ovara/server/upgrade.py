"""From HTTP to picows: the answer 101, and picows' protocol object on uvicorn's transport.

It wants to answer a handshake itself, so it is handed one that holds only the key, and the headers
for its answer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from picows import (
    WSAutoPingStrategy,
    WSListener,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

# Not in picows' public names, but its constructor is what `ws_create_server` calls: the version is
# pinned, and tests/server would notice.
from picows.picows import WSProtocol  # type: ignore[attr-defined]

# An adapter, because picows would make a logger of its own for every connection from a plain one.
# What it reports at INFO (buffer sizes of every connection) is nobody's news.
_quiet = logging.getLogger("ovara.server.picows")
_quiet.setLevel(logging.CRITICAL)
_log: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_quiet, {})

_REQUEST = (
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)
# uvloop keeps `data_received` of the last protocol that had one, picows' has none: of this one
# rather than of a whole connection's.
_nobody = asyncio.Protocol()


def upgrade(
    transport: Any,
    listener: WSListener,
    *,
    key: str,
    headers: list[tuple[str, str]],
    early: bytes,
    max_size: int,
) -> None:
    """Answer 101 and let picows read `transport` for `listener`.

    Args:
        key: of the handshake, checked.
        headers: for the answer.
        early: what the peer sent before that.
        max_size: bytes of the largest frame that is taken.
    """

    def answer(_: object) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(
            WSUpgradeResponse.create_101_response(headers), listener
        )

    # Host, path and headers are a client's; no timeout, pings or pongs of its own.
    picows = WSProtocol(
        *(None, None, False, answer, _log, False, None),
        *(False, 0, 0, WSAutoPingStrategy.PING_WHEN_IDLE, False, max_size, None, 2048),
    )
    picows.connection_made(transport)
    _feed(picows, _REQUEST.format(key=key).encode("ascii") + early)
    # picows keeps both for an application to look at; nobody does.
    picows.transport.request.headers = picows.transport.response.headers = None
    transport.set_protocol(_nobody)
    transport.set_protocol(picows)


def _feed(protocol: Any, data: bytes) -> None:
    """Give a buffered protocol bytes, as a transport would."""
    while data:
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]

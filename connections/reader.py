"""What comes on one connection: each frame counted, decoded and handed to its handler."""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING

from connections import metrics, protocol
from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.handlers import HANDLERS, lane_of, send
from connections.hub import ConnectionInfo
from connections.lanes import Lanes, Work
from connections.limits import Rate
from connections.malformed import request_id_of
from connections.strikes import Strikes
from ovara.conf import ovara_settings
from ovara.errors import Invalid, OvaraError, RateLimited, Unauthenticated
from ovara.logs import fields

if TYPE_CHECKING:
    from connections.node import Node

log = logging.getLogger("connections")

# How a connection ends whose client just went, or sent a close frame without a code.
NO_CODE = 1005


class FrameReader:
    """Reads for one registered connection; the `Handler` of the recommended server."""

    __slots__ = (
        "_connection",
        "_full_at",
        "_lanes",
        "_max_frame_bytes",
        "_node",
        "_rate",
        "_strikes",
    )

    def __init__(self, node: Node, connection: ConnectionInfo) -> None:
        settings = ovara_settings()
        self._node = node
        self._connection = connection
        self._rate = _rate(settings.frames_per_second, settings.frame_burst)
        self._full_at = 0.0
        self._max_frame_bytes = settings.max_frame_bytes
        # Only where a frame was refused, or has to wait.
        self._strikes: Strikes | None = None
        self._lanes: Lanes | None = None

    def text_received(self, text: str) -> None:
        """A text frame came."""
        self.receive(text, None)

    def binary_received(self, data: bytes) -> None:
        """A binary frame came: this protocol has none, but they count."""
        self.receive(None, data)

    def closed(self, code: int, reason: str) -> None:
        """The socket has ended, by whichever side."""
        self._node.local.forget(
            self._connection.connection_id, code or NO_CODE, reason or "the client left"
        )

    def receive(self, text: str | None, binary: bytes | None) -> None:
        """Deal with one frame; never waits."""
        connection = self._connection
        if connection.connection_id not in self._node.hub.connections:
            return
        connection.heard_at = time.monotonic()
        try:
            self._check_size(text, binary)
            self._dispatch(text)
        except Disconnect as ending:
            self._end(ending)
        except OvaraError as error:
            self._refuse_frame(error, _request_id(text))
        except Exception as error:
            self._internal(error, _request_id(text))

    def _check_size(self, text: str | None, binary: bytes | None) -> None:
        """A character is up to four bytes: only near the limit they have to be counted."""
        size = len(binary or b"") if text is None else len(text) * 4
        if size > self._max_frame_bytes and text is not None:
            size = len(text.encode("utf-8", "surrogatepass"))
        if size > self._max_frame_bytes:
            raise Disconnect(CloseCode.FRAME_TOO_LARGE)

    def _dispatch(self, text: str | None) -> None:
        try:
            frame = self._decode(text)
        except OvaraError:
            metrics.FRAMES_RECEIVED.counts["refused"] += 1
            raise
        kind = type(frame)
        metrics.FRAMES_RECEIVED.counts[protocol.TYPE_NAMES[kind]] += 1
        if self._strikes is not None:
            self._strikes.valid()
        if kind is not protocol.Ping:
            self._connection.active_at = self._connection.heard_at
        if not self._connection.authenticated and kind is not protocol.Authenticate:
            raise Unauthenticated("Send authenticate first.")
        work = HANDLERS[kind](self._node, self._connection, frame)
        if work is not None:
            if self._lanes is None:
                self._lanes = Lanes(self._perform, self._rest)
            self._lanes.add(lane_of(frame), work, frame.id)

    def _rest(self) -> None:
        self._lanes = None

    def _decode(self, text: str | None) -> protocol.AnyRequest:
        wait, self._full_at = self._rate.take(self._full_at)
        if wait:
            raise RateLimited("Too many frames: wait before the next.", retry_after=wait)
        if text is None:
            raise Invalid("Send text frames: this protocol has no binary ones.")
        return protocol.decode(text)

    async def _perform(self, work: Work, request_id: str | None) -> None:
        """Await what a handler has to wait for; its errors go the same way as the others'."""
        try:
            await work
        except Disconnect as ending:
            self._end(ending)
        except OvaraError as error:
            self._refuse_frame(error, request_id)
        except Exception as error:
            self._internal(error, request_id)

    def _refuse_frame(self, error: OvaraError, request_id: str | None) -> None:
        metrics.ERRORS.labels(error.code).inc()
        send(self._connection, "error", protocol.error_frame(error, request_id))
        if self._strikes is None:
            self._strikes = Strikes()
        ending = self._strikes.refused(error)
        if ending is not None:
            self._end(ending)

    def _internal(self, error: Exception, request_id: str | None) -> None:
        log.error(
            fields("handler_failed", connection=self._connection.connection_id), exc_info=error
        )
        self._refuse_frame(
            OvaraError("Something went wrong here. It is logged; try again."), request_id
        )

    def _end(self, ending: Disconnect) -> None:
        self._node.local.close(
            self._connection, ending.code, ending.reason, retry_after=ending.retry_after
        )


@functools.cache
def _rate(per_second: float, burst: int) -> Rate:
    """One for all connections."""
    return Rate(per_second, burst)


def _request_id(text: str | None) -> str | None:
    return None if text is None else request_id_of(text)

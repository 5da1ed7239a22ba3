"""A message that comes in several frames (RFC 6455, 5.4)."""

from __future__ import annotations

from picows import WSMsgType

PROTOCOL_ERROR = 1002
TOO_BIG = 1009


class ProtocolViolated(Exception):
    """The peer's frames make no sense; `code` is for the close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Fragments:
    """The parts of one message, up to `max_size` bytes."""

    __slots__ = ("_kind", "_max_size", "_parts", "_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._kind: WSMsgType | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, kind: WSMsgType, fin: bool, data: bytes) -> str | bytes | None:
        """Add a frame; the whole message with the last one.

        Raises:
            ProtocolViolated: a frame that may not come here, or a message too big.
            UnicodeDecodeError: a text that is none.
        """
        if (kind is WSMsgType.CONTINUATION) == (self._kind is None):
            raise ProtocolViolated(PROTOCOL_ERROR, "fragments out of order")
        if self._kind is None:
            self._kind = kind
        self._size += len(data)
        if self._size > self._max_size:
            raise ProtocolViolated(TOO_BIG, "the message is too big")
        self._parts.append(data)
        if not fin:
            return None
        whole = b"".join(self._parts)
        return whole.decode() if self._kind is WSMsgType.TEXT else whole

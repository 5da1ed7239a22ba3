"""A connection's end for tests of what is before it, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Transport:
    """A connection's end, as far as an outbox knows it: what was written, then the close code."""

    def __init__(self) -> None:
        self.writes: list[bytes | int] = []
        self.is_writable = True
        self.writing_resumed: Callable[[], object] | None = None
        self.written = asyncio.Event()

    def take_over(self, handler: Any, /) -> None:
        raise AssertionError("no outbox does that")

    def write_frame(self, frame: bytes, /) -> None:
        self.writes.append(frame)
        self.written.set()

    def buffered_bytes(self) -> int:
        return 0

    def close(self, code: int, reason: str, /) -> None:
        self.writes.append(code)

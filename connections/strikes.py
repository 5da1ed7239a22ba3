"""When errors, each harmless, are together too much."""

from __future__ import annotations

import time
from collections import deque

from connections.close_codes import CloseCode
from connections.errors import Disconnect
from ovara.errors import OvaraError

# PROTOCOL, 'Error codes'.
MAX_INVALID_IN_A_ROW = 20
MAX_RATE_LIMITED = 100
RATE_LIMITED_SECONDS = 10.0
FLOOD_RETRY_SECONDS = 10.0


class Strikes:
    """Counts a connection's refused frames."""

    __slots__ = ("_invalid", "_limited_at")

    def __init__(self) -> None:
        self._invalid = 0
        self._limited_at: deque[float] | None = None

    def valid(self) -> None:
        """A frame was well-formed: the row of invalid ones is broken."""
        self._invalid = 0

    def refused(self, error: OvaraError) -> Disconnect | None:
        """Count a refused frame; what to do if it was one too many."""
        if error.code == "invalid":
            self._invalid += 1
            if self._invalid >= MAX_INVALID_IN_A_ROW:
                return Disconnect(
                    CloseCode.PROTOCOL, f"{MAX_INVALID_IN_A_ROW} invalid frames in a row"
                )
        elif error.code == "rate_limited":
            return self._limited()
        return None

    def _limited(self) -> Disconnect | None:
        if self._limited_at is None:
            self._limited_at = deque(maxlen=MAX_RATE_LIMITED)
        at = time.monotonic()
        recent = self._limited_at
        if len(recent) == MAX_RATE_LIMITED and at - recent[0] <= RATE_LIMITED_SECONDS:
            return Disconnect(CloseCode.FLOOD, retry_after=FLOOD_RETRY_SECONDS)
        recent.append(at)
        return None

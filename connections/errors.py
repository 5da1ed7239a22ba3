"""The errors that end a connection; `ovara.errors` has those that leave it open."""

from __future__ import annotations

from connections.close_codes import CloseCode


class Disconnect(Exception):
    """End this connection with a `disconnect` frame and `code`.

    Args:
        code: which close code.
        reason: words for people; the code's own by default.
        retry_after: seconds to wait before coming back, where there is such advice.
    """

    def __init__(
        self, code: CloseCode, reason: str | None = None, *, retry_after: float | None = None
    ) -> None:
        self.code = code
        self.reason = code.reason if reason is None else reason
        self.retry_after = retry_after
        super().__init__(f"{code.value} {self.reason}")


class ChannelLayerNotShared(Exception):
    """This process can't reach the server's connections through its channel layer."""

    def __init__(self) -> None:
        super().__init__(
            "The channel layer is in memory, so this process can't reach the server's "
            "connections. Set REDIS_URL for both, to the same Redis."
        )

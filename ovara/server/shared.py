"""What the connections of one server have in common."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from ovara.server.keepalive import Keepalive
from ovara.server.parser import Parsers


class Shared:
    """One for a server.

    `connections` are those that uvicorn tells of its end, and waits for; `max_size` is in bytes, of
    the largest message that is taken; `keepalive` sends pings, if anybody does.
    """

    def __init__(self, config: Config, state: ServerState) -> None:
        self.connections: set[Any] = state.connections
        self.max_size = config.ws_max_size
        self.parsers = Parsers(config.ws_max_size)
        self.keepalive = (
            Keepalive(config.ws_ping_interval, config.ws_ping_timeout)
            if config.ws_ping_interval
            else None
        )


_shared: WeakKeyDictionary[ServerState, Shared] = WeakKeyDictionary()


def shared_by(config: Config, state: ServerState) -> Shared:
    """The one of this server."""
    found = _shared.get(state)
    if found is None:
        found = _shared[state] = Shared(config, state)
    return found

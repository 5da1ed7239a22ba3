"""Whose connections have no right to be here any more, however it was lost.

Signals tell of most of it at once (listeners.py). Not of a bulk update, of an account that was
deleted together with the rows of its connections, or of a token that was revoked while another
transaction let it in: so a node also looks for itself.
"""

from __future__ import annotations

from collections.abc import Callable

from connections import selectors
from connections.close_codes import CloseCode
from connections.hub import ConnectionInfo, Hub
from ovara.database import in_thread

SIGNED_OUT = "signed out"
DEACTIVATED = "this account was deactivated"

# Looked at in one turn, so that a turn costs the same whatever the size of the node: up to here
# everybody is looked at in every turn, beyond it everybody's turn comes later.
CONNECTIONS_A_TURN = 2000


class Standing:
    """Looks at a node's connections, some of them each time.

    Args:
        close: ends a connection.
    """

    def __init__(self, hub: Hub, close: Callable[[ConnectionInfo, CloseCode, str], object]) -> None:
        self._hub = hub
        self._close = close
        # Those that were not looked at in this round.
        self._left: list[ConnectionInfo] = []

    async def look(self) -> None:
        """Close, with 4401, whose account is gone or switched off, or whose token was revoked."""
        here = self._left or [one for one in self._hub.connections.values() if one.authenticated]
        some, self._left = here[:CONNECTIONS_A_TURN], here[CONNECTIONS_A_TURN:]
        if not some:
            return
        users = {one.user.id for one in some if one.user}
        keys = {key for one in some if one.token for key in one.token.keys}
        inactive, revoked = await in_thread(selectors.rights_lost, users, keys)
        for one in some:
            if one.user and one.user.id in inactive:
                self._close(one, CloseCode.UNAUTHENTICATED, DEACTIVATED)
            # It may have been renewed meanwhile: what counts is the token of now.
            elif one.token and not revoked.isdisjoint(one.token.keys):
                self._close(one, CloseCode.UNAUTHENTICATED, SIGNED_OUT)

"""Pings for connections that are silent: one timer for all, no task and no timer of each.

The connections stand on a wheel; every turn of `interval` visits each once, a few at a time, so
that fifty thousand pings are no pause for anybody. A visit finds a connection that was heard since
the last (any frame counts), or sends it a ping; one that has not answered for `timeout` is dead.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

SLOTS = 100


class Pingable(Protocol):
    """A connection on the wheel.

    `pinged_at` is loop time; 0 while no ping is unanswered. `slot` is its place, the wheel's own.
    """

    pinged_at: float
    slot: int | None

    def was_heard(self) -> bool:
        """Whether anything came since this was asked last."""

    def ping(self) -> None:
        """Send a ping."""

    def ping_unanswered(self) -> None:
        """The peer is dead."""


class Keepalive:
    """The wheel of one server.

    Args:
        interval: seconds between two visits of one connection.
        timeout: seconds within which a ping has to be answered; None: for ever.
    """

    def __init__(self, interval: float, timeout: float | None) -> None:
        self._timeout = timeout
        self._seconds_a_slot = interval / SLOTS
        self._slots: list[set[Pingable]] = [set() for _ in range(SLOTS)]
        self._count = 0
        self._next_slot = 0
        self._current = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pingable) -> None:
        """Begin to look after a connection."""
        self._next_slot = (self._next_slot + 1) % SLOTS
        self._slots[self._next_slot].add(connection)
        connection.slot = self._next_slot
        self._count += 1
        if self._timer is None:
            self._schedule()

    def discard(self, connection: Pingable) -> None:
        """Look after it no more; harmless if it never was here."""
        if connection.slot is None:
            return
        self._slots[connection.slot].discard(connection)
        connection.slot = None
        self._count -= 1
        if not self._count and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds_a_slot, self._turn)

    def _turn(self) -> None:
        self._current = (self._current + 1) % SLOTS
        now = asyncio.get_running_loop().time()
        self._schedule()
        for connection in tuple(self._slots[self._current]):
            self._visit(connection, now)

    def _visit(self, connection: Pingable, now: float) -> None:
        if connection.was_heard():
            connection.pinged_at = 0.0
        elif not connection.pinged_at:
            connection.pinged_at = now
            connection.ping()
        elif self._is_over(now - connection.pinged_at):
            connection.ping_unanswered()

    def _is_over(self, seconds: float) -> bool:
        # Timers are a little early at times; a whole interval more would be far too late.
        return self._timeout is not None and seconds >= self._timeout - self._seconds_a_slot

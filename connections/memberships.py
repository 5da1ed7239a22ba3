"""The groups of one server of the channel layer: those this node wants to be in, and is in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger("connections")

# A call of the layer or a probe that takes longer says that its server is lost.
ANSWER_SECONDS = 3.0


class Layer(Protocol):
    """What of a channel layer is used here."""

    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


class Memberships:
    """Notes at once what is wanted; `settle_one` tells the layer, when its server answers.

    Args:
        on_gap: called with a group that somebody did not wait for to the end, once we are in it.
    """

    def __init__(self, layer: Layer, on_gap: Callable[[str], object]) -> None:
        self.channel = ""
        self._layer = layer
        self._on_gap = on_gap
        # group → whether we have been in it since we want to be
        self._wanted: dict[str, bool] = {}
        self._present: set[str] = set()
        self._changed: set[str] = set()
        # For those groups only that somebody waits for.
        self._awaited: dict[str, asyncio.Event] = {}
        # Groups that somebody did not wait for to the end.
        self._late: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Whether we are in what we want to be in, and in nothing else."""
        return not self._changed

    def join(self, group: str) -> None:
        """Want to be a member of `group`."""
        self._wanted.setdefault(group, False)
        self._changed.add(group)

    def leave(self, group: str) -> None:
        """Want to be no member of `group` any more."""
        self._wanted.pop(group, None)
        self._changed.add(group)
        self._awaited.pop(group, None)

    def has_joined(self, group: str) -> bool:
        """Whether we were taken in. After an outage, too: what was missed is made good then."""
        return self._wanted.get(group, False)

    async def joined(self, group: str) -> bool:
        """Wait until we are in `group`; False where nobody wants that, or it takes too long."""
        if group not in self._wanted or self._wanted[group]:
            return group in self._wanted
        event = self._awaited.setdefault(group, asyncio.Event())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await event.wait()
        except TimeoutError:
            log.warning("the channel layer did not add %s in time; going on without", group)
            self._late.add(group)
            return False
        return True

    async def settle_one(self) -> None:
        """Join or leave one group as it is wanted now; it stays to be done where that fails."""
        group = next(iter(self._changed))
        self._changed.discard(group)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if group in self._wanted and group not in self._present:
                    await self._layer.group_add(group, self.channel)
                    self._present.add(group)
                elif group not in self._wanted and group in self._present:
                    await self._layer.group_discard(group, self.channel)
                    self._present.discard(group)
        except BaseException:
            self._changed.add(group)
            raise
        if group in self._present and group in self._wanted:
            self._wanted[group] = True
            if (event := self._awaited.pop(group, None)) is not None:
                event.set()
        if group in self._late:
            self._late.discard(group)
            self._on_gap(group)

    def begin_anew(self) -> None:
        """The server knows nothing of us any more."""
        self._present.clear()
        self._changed |= self._wanted.keys()

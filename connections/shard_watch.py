"""Whether one server of the channel layer answers.

The layer's own calls say little about that: a publication that nobody hears succeeds as well. So
the node publishes a probe to itself, through the same connections as everything else, and takes a
server for lost until one has come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from connections.memberships import ANSWER_SECONDS
from ovara.conf import ovara_settings

RETRY_SECONDS = 0.5
# After so many the connections to the server are made anew: a dead one may look alive.
PROBES_IN_VAIN = 3


class Watch:
    """Sends a probe every heartbeat, and at once where there is doubt.

    Args:
        send_probe: brings our groups in order and publishes a probe.
        on_found: called after each probe that came back, with nothing amiss meanwhile.
        on_lost: called with the error of each that did not.
        begin_anew: drops the connections.
        once: whether one probe is enough, because within a process nothing gets lost.
    """

    def __init__(
        self,
        send_probe: Callable[[], Awaitable[None]],
        on_found: Callable[[], object],
        on_lost: Callable[[Exception], object],
        begin_anew: Callable[[], Awaitable[None]],
        *,
        once: bool,
    ) -> None:
        self._send_probe = send_probe
        self._on_found = on_found
        self._on_lost = on_lost
        self._begin_anew = begin_anew
        self._once = once
        self._doubt = asyncio.Event()
        self._echo = asyncio.Event()

    def doubt(self) -> None:
        """Something went wrong: send a probe now."""
        self._doubt.set()

    def echoed(self) -> None:
        """A probe of ours has come back."""
        self._echo.set()

    async def run(self) -> None:
        """For ever."""
        in_vain = 0
        while True:
            if await self._probe():
                in_vain = 0
                self._on_found()
                if self._once:
                    return
                await self._rest(ovara_settings().node_heartbeat_seconds)
                continue
            in_vain += 1
            if in_vain % PROBES_IN_VAIN == 0:
                await self._begin_anew()
            await asyncio.sleep(RETRY_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._doubt.wait()
        except TimeoutError:
            return

    async def _probe(self) -> bool:
        """Whether what we publish comes back to us, and we are in all our groups."""
        self._doubt.clear()
        self._echo.clear()
        try:
            await self._send_probe()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._echo.wait()
        except Exception as error:
            self._on_lost(error)
            return False
        return not self._doubt.is_set()

"""The order of one connection's requests: in order for a conversation, side by side otherwise."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ovara import background
from ovara.errors import Overloaded

# Requests of one connection that may wait; a client within its rate never has so many.
MAX_PENDING = 256

Work = Coroutine[Any, Any, None]


class Lanes:
    """Runs coroutines: one at a time in a lane, lanes side by side.

    Args:
        perform: awaits one coroutine and deals with its errors; must not raise.
        on_rest: called when nothing is left to do.
    """

    __slots__ = ("_lanes", "_on_rest", "_pending", "_perform")

    def __init__(
        self, perform: Callable[[Work, str | None], Work], on_rest: Callable[[], object]
    ) -> None:
        self._perform = perform
        self._on_rest = on_rest
        # lane → what waits behind the coroutine that runs there
        self._lanes: dict[str, deque[tuple[Work, str | None]]] = {}
        self._pending = 0

    def add(self, lane: str, work: Work, request_id: str | None) -> None:
        """Run `work` when its turn comes.

        Raises:
            Overloaded: too much waits already.
        """
        if self._pending >= MAX_PENDING:
            work.close()
            raise Overloaded("Too many requests wait for their answers. Nothing was done.")
        self._pending += 1
        waiting = self._lanes.get(lane)
        if waiting is not None:
            waiting.append((work, request_id))
            return
        self._lanes[lane] = deque([(work, request_id)])
        background.start(self._run(lane), name="lane")

    async def _run(self, lane: str) -> None:
        waiting = self._lanes[lane]
        try:
            while waiting:
                work, request_id = waiting.popleft()
                self._pending -= 1
                await self._perform(work, request_id)
        finally:
            del self._lanes[lane]
            for work, _ in waiting:
                work.close()
            if not self._lanes:
                self._on_rest()

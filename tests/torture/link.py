"""One connection of a client: requests, and their answers in the order of all frames."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

Frame = dict[str, Any]

# Longer than any answer may take while the server lives, be the machine ever so slow.
ANSWER_SECONDS = 30.0
# Errors that a client answers by trying again; every other one is a fault.
PASSING = {"overloaded"}
_ids = itertools.count(1)


class Lost(Exception):
    """The connection has ended: the server was killed, or is not up yet."""


class Link:
    """What `connected` yields.

    Args:
        on_frame: called for every frame that is no answer, before the next frame is looked at.
        fault: called with words for whatever may never happen.
    """

    def __init__(
        self,
        socket: ClientConnection,
        on_frame: Callable[[Frame], object],
        fault: Callable[[str], object],
    ) -> None:
        self._socket = socket
        self._on_frame = on_frame
        self._fault = fault
        self._answers: dict[str, tuple[asyncio.Future[Frame], Callable[[Frame], object]]] = {}
        self._is_lost = False

    async def first_frame(self) -> Frame:
        frame: Frame = json.loads(await self._socket.recv())
        return frame

    async def read(self) -> None:
        """Take frames until the connection ends, which raises."""
        async for text in self._socket:
            frame: Frame = json.loads(text)
            if frame["type"] in {"ack", "error", "pong"}:
                answered, on_answer = self._answers.pop(frame["id"])
                on_answer(frame)
                # Whoever asked for a tab on another node may have been cut off meanwhile.
                if not answered.done():
                    answered.set_result(frame)
            else:
                self._on_frame(frame)
        raise Lost

    async def ask(
        self, frame: Frame, on_answer: Callable[[Frame], object] = lambda _: None
    ) -> Frame:
        """Send a request; `on_answer` is called in the order of the frames.

        Raises:
            Lost, ConnectionClosed: before the answer came.
        """
        if self._is_lost:
            raise Lost
        key = f"r{next(_ids)}"
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[key] = future, on_answer
        await self._socket.send(json.dumps(frame | {"id": key}))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await future
        except TimeoutError:
            self._fault(f"no answer in {ANSWER_SECONDS} s to {frame}")
            raise Lost from None
        if answer["type"] == "error" and answer["code"] not in PASSING:
            self._fault(f"{frame['type']} was answered by {answer}")
        return answer

    def lost(self) -> None:
        """Nobody will answer any more."""
        self._is_lost = True
        for future, _ in self._answers.values():
            if not future.done():
                future.set_exception(Lost())
                # Whoever waited may be gone; then nobody needs to hear of it.
                future.exception()


@asynccontextmanager
async def connected(
    address: str,
    token: str,
    on_frame: Callable[[Frame], object],
    fault: Callable[[str], object],
) -> AsyncIterator[Link]:
    """A connection to `address`.

    Raises:
        Lost: it could not be made, or ended while it was used.
    """
    try:
        async with websocket_connect(
            address,
            additional_headers={"Authorization": f"Bearer {token}"},
            open_timeout=ANSWER_SECONDS,
            close_timeout=1,
            ping_interval=None,
            max_size=None,
            proxy=None,
            compression=None,
        ) as socket:
            link = Link(socket, on_frame, fault)
            try:
                yield link
            finally:
                link.lost()
    except* (ConnectionClosed, InvalidHandshake, OSError, EOFError, Lost):
        raise Lost from None

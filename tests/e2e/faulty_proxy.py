"""A proxy between WebSocket clients and a server that mistreats what passes, by a seed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.server import ServerProcess

Fate = Literal["pass", "drop", "repeat", "delay", "cut"]

# How often each befalls a frame of the server, in percent; what is delayed is overtaken.
SERVER_FRAMES: dict[Fate, float] = {"drop": 5, "repeat": 5, "delay": 12, "cut": 1.2}
# A client's frames keep their order, as its socket promises; but some never arrive, or twice.
CLIENT_FRAMES: dict[Fate, float] = {"drop": 2, "repeat": 3}
LONGEST_DELAY_SECONDS = 0.25
PROTOCOL = Subprotocol("ovara.v1")


class FaultyProxy:
    """What `running` yields; `counts` tells how often each fate befell a frame of the server."""

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self.counts: Counter[Fate] = Counter()
        self.url = ""
        self._server = server
        self._seed = seed
        self._is_calm = False
        self._late: set[asyncio.Task[None]] = set()
        self._connections = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, server: ServerProcess, *, seed: int) -> AsyncIterator[FaultyProxy]:
        proxy = cls(server, seed)
        async with serve(
            proxy._accept,
            "127.0.0.1",
            0,
            select_subprotocol=_select,
            ping_interval=None,
            max_size=None,
        ) as listener:
            port = listener.sockets[0].getsockname()[1]
            proxy.url = f"ws://127.0.0.1:{port}/ws/"
            yield proxy

    def calm_down(self) -> None:
        """Pass everything as it comes from now on."""
        self._is_calm = True

    async def _accept(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self._connections += 1
        luck = Random(f"{self._seed}:{self._connections}")
        offered = socket.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        async with websocket_connect(
            f"{self._server.ws_url}?{urlsplit(socket.request.path).query}",
            subprotocols=[Subprotocol(name.strip()) for name in offered],
            ping_interval=None,
            max_size=None,
            proxy=None,
        ) as upstream:
            await self._carry(socket, upstream, luck)

    async def _carry(
        self, socket: ServerConnection, upstream: ClientConnection, luck: Random
    ) -> None:
        """Both ways, until either side has closed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._up(socket, upstream, luck))
            group.create_task(self._down(upstream, socket, luck))

    async def _up(self, socket: Connection, upstream: Connection, luck: Random) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                fate = self._fate(CLIENT_FRAMES, luck)
                for _ in range({"drop": 0, "repeat": 2}.get(fate, 1)):
                    await upstream.send(text)
        await upstream.close()

    async def _down(self, upstream: Connection, socket: Connection, luck: Random) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in upstream:
                # A server's last words come over any network that lets it close at all.
                is_last = json.loads(text)["type"] == "disconnect"
                fate = "pass" if is_last else self._fate(SERVER_FRAMES, luck)
                self.counts[fate] += 1
                if fate == "cut":
                    socket.transport.abort()
                if fate in {"pass", "repeat"}:
                    await socket.send(text)
                if fate in {"delay", "repeat"}:
                    self._send_late(socket, text, luck.uniform(0, LONGEST_DELAY_SECONDS))
        await socket.close(upstream.close_code or 1011, upstream.close_reason or "")

    def _fate(self, shares: dict[Fate, float], luck: Random) -> Fate:
        number = luck.uniform(0, 100)
        for fate, share in shares.items():
            number -= share
            if number < 0 and not self._is_calm:
                return fate
        return "pass"

    def _send_late(self, socket: Connection, text: str | bytes, seconds: float) -> None:
        async def send() -> None:
            await asyncio.sleep(seconds)
            with contextlib.suppress(ConnectionClosed):
                await socket.send(text)

        task = asyncio.create_task(send())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


def _select(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return PROTOCOL if PROTOCOL in offered else None

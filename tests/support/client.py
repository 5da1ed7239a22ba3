"""A WebSocket client that speaks Ovara's protocol, for tests.

alice = await connect(server, account)
ack = await alice.request({"type": "join", "conversation_id": conversation_id})
frame = await alice.expect("message", conversation_id=conversation_id)
assert await alice.pending("typing") == []      # no sleep: a ping's pong is the barrier
code, reason, disconnect = await alice.closed()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from tests.support.database import Account
from tests.support.environment import PATIENCE_SECONDS
from tests.support.server import ServerProcess

Frame = dict[str, Any]
Via = Literal["header", "subprotocol", "query", "frame", "nothing"]

PROTOCOL = "ovara.v1"
ANSWERS = ("ack", "error", "pong")


class Closed(NamedTuple):
    """How a connection ended; `disconnect` is the frame with the words, if one came."""

    code: int | None
    reason: str
    disconnect: Frame | None


class WireClient:
    """One connection. Frames that no `expect` has taken yet wait in `frames`, oldest first.

    `received` has every frame that came, in order, whoever took it.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self.received: list[Frame] = []
        self.welcome: Frame = {}
        self._ids = itertools.count(1)
        self._news = asyncio.Condition()
        self._is_over = False
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls,
        server: ServerProcess,
        account: Account | None = None,
        *,
        token: str | None = None,
        via: Via = "header",
        client_id: str | None = None,
        session_id: str | None = None,
        origin: str | None = None,
        subprotocols: list[str] | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        local_address: str | None = None,
    ) -> Self:
        """Connect, and wait for the first frame: `welcome`, kept in `welcome`, or a refusal.

        The token is `token`, or a new one of `account`, brought as `via` says; with "frame" also
        the `authenticate` request is made. A refused connection has an empty `welcome`: see
        `closed`. An HTTP refusal raises `websockets.exceptions.InvalidStatus`. `local_address`,
        such as 127.0.0.2, is where to come from, for limits that count by address.
        """
        if token is None and account is not None:
            token = account.token()
        if token is None:
            via = "nothing"
        parameters = {"client_id": client_id, "session_id": session_id, **(query or {})}
        offered = list(subprotocols or [])
        sent = dict(headers or {})
        if via == "header":
            sent["Authorization"] = f"Bearer {token}"
        elif via == "subprotocol":
            offered += [PROTOCOL, f"ovara.jwt.{token}"]
        elif via == "query":
            parameters["token"] = token
        words = urlencode({name: value for name, value in parameters.items() if value is not None})
        socket = await websocket_connect(
            f"{server.ws_url}?{words}" if words else server.ws_url,
            origin=Origin(origin) if origin is not None else None,
            subprotocols=[Subprotocol(name) for name in offered] or None,
            additional_headers=sent,
            ping_interval=None,
            max_size=None,
            proxy=None,
            local_addr=(local_address, 0) if local_address else None,
        )
        client = cls(socket)
        try:
            await client._first_frame()
            if via == "frame" and client.welcome:
                ack = await client.request({"type": "authenticate", "token": token})
                assert ack["type"] == "ack", ack
                client.welcome |= {name: ack[name] for name in ("user", "client_id", "session")}
        except BaseException:
            await client.close()
            raise
        return client

    @property
    def client_id(self) -> str:
        client_id: str = self.welcome["client_id"]
        return client_id

    @property
    def session_id(self) -> str:
        session_id: str = self.welcome["session"]["id"]
        return session_id

    @property
    def connection_id(self) -> str:
        connection_id: str = self.welcome["connection_id"]
        return connection_id

    async def send(self, frame: Frame) -> None:
        """Send a frame and wait for nothing."""
        await self.socket.send(json.dumps(frame))

    async def send_raw(self, data: str | bytes) -> None:
        """Send what is perhaps no frame at all; bytes go as a binary frame."""
        await self.socket.send(data)

    async def request(self, frame: Frame, *, timeout: float = PATIENCE_SECONDS) -> Frame:
        """Send a request, with an `id` unless it has one; its `ack`, `error` or `pong`."""
        frame = {"id": f"test-{next(self._ids)}"} | frame
        await self.send(frame)
        return await self._take(
            lambda answer: answer["type"] in ANSWERS and answer.get("id") == frame["id"],
            f"an answer to {frame}",
            timeout,
        )

    async def join(self, conversation_id: str, **fields: Any) -> Frame:
        """Join a conversation; the ack."""
        return await self._acknowledged(
            {"type": "join", "conversation_id": conversation_id} | fields
        )

    async def message(self, conversation_id: str, content: str, **fields: Any) -> Frame:
        """Send a message; the stored message."""
        frame = {"type": "message", "conversation_id": conversation_id, "content": content}
        unique = {"client_message_id": f"message-{id(self)}-{next(self._ids)}"}
        stored: Frame = (await self._acknowledged(frame | unique | fields))["message"]
        return stored

    async def expect(
        self, frame_type: str, *, timeout: float = PATIENCE_SECONDS, **fields: Any
    ) -> Frame:
        """The next frame of this type whose fields are `fields`; the others keep waiting."""
        return await self._take(
            lambda frame: (
                frame["type"] == frame_type
                and all(frame.get(name) == value for name, value in fields.items())
            ),
            f"{frame_type} {fields or ''}",
            timeout,
        )

    async def take(
        self, is_wanted: Callable[[Frame], bool], what: str, *, timeout: float = PATIENCE_SECONDS
    ) -> Frame:
        """The next frame that `is_wanted`; `what` says in the failure what did not come."""
        return await self._take(is_wanted, what, timeout)

    async def barrier(self) -> None:
        """Return when all that the server had sent before this call has arrived here."""
        answer = await self.request({"type": "ping"})
        assert answer["type"] == "pong", answer

    async def pending(self, *types: str) -> list[Frame]:
        """The frames (of these types; without any: all) that have come and nobody expected."""
        await self.barrier()
        return [frame for frame in self.frames if not types or frame["type"] in types]

    async def closed(self, *, timeout: float = PATIENCE_SECONDS) -> Closed:
        """Wait for the server to close the connection."""
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._reader)
        disconnect = next((frame for frame in self.frames if frame["type"] == "disconnect"), None)
        return Closed(self.socket.close_code, self.socket.close_reason or "", disconnect)

    async def close(self) -> None:
        """Close from this side, as a tab does."""
        await self.socket.close()
        await self._reader

    def abort(self) -> None:
        """Cut the connection without a word, as a lost network does."""
        self.socket.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _first_frame(self) -> None:
        first = await self._take(
            lambda frame: frame["type"] in {"welcome", "disconnect"}, "the first frame", 10
        )
        if first["type"] == "welcome":
            self.welcome = first
        else:
            self.frames.insert(0, first)

    async def _acknowledged(self, frame: Frame) -> Frame:
        answer = await self.request(frame)
        assert answer["type"] == "ack", answer
        return answer

    async def _take(self, is_wanted: Callable[[Frame], bool], what: str, timeout: float) -> Frame:
        """Wait for the first frame that is wanted, and take it out of `frames`."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while True:
                    for position, frame in enumerate(self.frames):
                        if is_wanted(frame):
                            return self.frames.pop(position)
                    if self._is_over:
                        raise AssertionError(f"closed before {what} came; {self._situation()}")
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} in {timeout} s; {self._situation()}") from None

    def _situation(self) -> str:
        return f"close code {self.socket.close_code}, frames waiting: {self.frames}"

    async def _read(self) -> None:
        try:
            # How it ended is in `socket.close_code`; `closed` tells.
            with contextlib.suppress(ConnectionClosed):
                async for text in self.socket:
                    async with self._news:
                        self.frames.append(json.loads(text))
                        self.received.append(self.frames[-1])
                        self._news.notify_all()
        finally:
            async with self._news:
                self._is_over = True
                self._news.notify_all()

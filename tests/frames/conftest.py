"""A server without limits in the way, and conversations of two to talk in.

`talk` is a new conversation of the new accounts `talk.alice`, its owner, and `talk.bob`:

    sender, receiver = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await sender.message(talk.id, "hello")
    await receiver.expect("message", conversation_id=talk.id)
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as websocket_connect

from tests.conftest import SHARED_SERVER_SETTINGS
from tests.frames.described import check
from tests.support.client import WireClient
from tests.support.database import Account
from tests.support.server import ServerProcess

# Not the limits, but what they protect is tested here; those have servers of their own.
SETTINGS = {
    "OVARA_FRAMES_PER_SECOND": "1000000",
    "OVARA_FRAME_BURST": "1000000",
    "OVARA_MAX_CONNECTIONS_PER_ADDRESS": "10000",
    "OVARA_MAX_CONNECTIONS_PER_USER": "10000",
    "OVARA_MAX_CONNECTIONS_PER_CLIENT": "10000",
}
# For the tests of limits: a connection has thirty frames, and then one in a hundred seconds.
LIMITS = {
    "OVARA_FRAME_BURST": "30",
    "OVARA_FRAMES_PER_SECOND": "0.01",
    "OVARA_MAX_FRAME_BYTES": "70000",
    "OVARA_MAX_CONVERSATIONS_PER_CONNECTION": "2",
}
NO_SUCH_ID = "01a204ff-b87e-7596-8aa3-a61245b618c3"


async def raw_texts(
    server: ServerProcess, account: Account, frames: list[dict[str, Any]]
) -> list[str]:
    """What a new connection gets for each of `frames`, byte for byte; one answer for each."""
    authorization = {"Authorization": f"Bearer {account.token()}"}
    async with websocket_connect(
        server.ws_url, additional_headers=authorization, proxy=None
    ) as socket:
        assert '"welcome"' in str(await socket.recv())
        texts = []
        for frame in frames:
            await socket.send(json.dumps(frame))
            texts.append(str(await socket.recv()))
        return texts


@dataclass(frozen=True)
class Talk:
    """A conversation, its people, and how they come to it."""

    server: ServerProcess
    id: str
    alice: Account
    bob: Account
    _connect: Callable[..., Awaitable[WireClient]]
    _rest: Callable[..., httpx.AsyncClient]

    async def tab(self, account: Account, **options: Any) -> WireClient:
        """A connection; `client_id=other.client_id` makes it another tab of the same client."""
        return await self._connect(self.server, account, **options)

    async def joined(self, account: Account, **fields: Any) -> WireClient:
        """A connection that has joined; `fields` go into the `join`, which nobody sees."""
        client = await self.tab(account)
        await client.join(self.id, **fields)
        return client

    async def many(self, account: Account, count: int) -> list[WireClient]:
        """Joined connections of one user, each of another client."""
        return list(await asyncio.gather(*(self.joined(account) for _ in range(count))))

    def rest(self, account: Account) -> httpx.AsyncClient:
        """The account's REST calls."""
        return self._rest(self.server, account)

    def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A frame about this conversation."""
        return {"type": kind, "conversation_id": self.id} | fields

    async def fill(self, client: WireClient, count: int, content: str = "message") -> None:
        """Store `count` messages: the contents end with the sequences, in a new conversation."""
        for number in range(1, count + 1):
            frame = self.request("message", content=f"{content} {number}")
            await client.send(frame | {"client_message_id": f"fill-{number}"})
        # In order: when this is answered, they are stored.
        await client.request(self.request("read", sequence=0), timeout=30)


# Of one type and connection; hundreds of the same would only take time.
FRAMES_TO_CHECK = 10


@pytest.fixture
async def connect(connect):
    """The usual one; whatever came on its connections has to be what docs/asyncapi.yaml says."""
    clients: list[WireClient] = []

    async def connect_one(*args: Any, **options: Any) -> WireClient:
        clients.append(await connect(*args, **options))
        return clients[-1]

    yield connect_one
    for client in clients:
        counted: Counter[str] = Counter()
        for frame in client.received:
            counted[frame["type"]] += 1
            if counted[frame["type"]] <= FRAMES_TO_CHECK:
                check(frame)


@pytest.fixture(scope="session")
def node(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The server of most tests in this folder."""
    return start_server(**SHARED_SERVER_SETTINGS | SETTINGS)


@pytest.fixture(scope="session")
def limited_node(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server with limits that tests meet on purpose."""
    return start_server(**SHARED_SERVER_SETTINGS | LIMITS)


@pytest.fixture
async def new_talk(connect, rest, make_conversation):
    """`await new_talk(node, *guests)`: a talk of two new accounts on that server, and of guests."""

    async def make(server: ServerProcess, *guests: Account) -> Talk:
        alice, bob = server.make_user(), server.make_user()
        conversation_id = await make_conversation(server, alice, bob, *guests)
        return Talk(server, conversation_id, alice, bob, connect, rest)

    return make


@pytest.fixture
async def talk(node, new_talk) -> Talk:
    return await new_talk(node)


def sequences(frames: list[dict[str, Any]]) -> list[int]:
    """The sequences of messages, or of `message` frames."""
    return [frame.get("message", frame)["sequence"] for frame in frames]


def of_type(client: WireClient, *types: str) -> list[dict[str, Any]]:
    """All frames of these types that ever came, in order."""
    return [frame for frame in client.received if frame["type"] in types]

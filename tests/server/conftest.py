"""uvicorn with `PicowsProtocol` around application.py, once on uvloop and once on asyncio."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.raw import RawConnection
from tests.support.environment import ROOT, clean_environment, free_port
from tests.support.process import ChildProcess


class AsgiServer(ChildProcess):
    """uvicorn around the test application."""

    def __init__(self, log_path: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        command = [
            *(sys.executable, "-m", "uvicorn", "--port", str(self.port)),
            *("--ws", "ovara.server.protocol:PicowsProtocol", "--ws-max-size", "100000"),
            *options,
            "tests.server.application:application",
        ]
        super().__init__(command, env=clean_environment(), cwd=ROOT, log_path=log_path)

    def start(self) -> None:
        self.launch()
        self.wait_until(self._answers, timeout=20)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5).text == "ok"
        except httpx.TransportError:
            return False


StartServer = Callable[..., AsgiServer]


@pytest.fixture(scope="session")
def start_asgi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """`start_asgi("--ws-ping-interval", "0.2")`: a server of one's own."""
    servers: list[AsgiServer] = []

    def start(*options: str) -> AsgiServer:
        server = AsgiServer(tmp_path_factory.mktemp("asgi") / "server.log", *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session", params=["uvloop", "asyncio"])
def asgi(request: pytest.FixtureRequest, start_asgi: StartServer) -> AsgiServer:
    """The shared one; the tests run once on each event loop."""
    return start_asgi("--loop", request.param)


@pytest.fixture
async def raw() -> AsyncIterator[Callable[..., RawConnection]]:
    """`await raw(server, "/echo")`: a connection that sends exactly the bytes it is told to."""
    connections: list[RawConnection] = []

    async def connect(server: AsgiServer, path: str, **headers: str) -> RawConnection:
        connections.append(await RawConnection.open(server.port, path, **headers))
        return connections[-1]

    yield connect
    for connection in connections:
        await connection.close()

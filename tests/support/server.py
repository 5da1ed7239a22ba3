"""A real server process for tests, with a free port and a database of its own.

The kinds: Daphne, uvicorn as it comes, and `ovara.server`, the recommended set-up of uvicorn.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast, get_args

import httpx

from tests.support.database import Account, Database
from tests.support.environment import ROOT, free_port, server_environment
from tests.support.process import ChildProcess

ServerKind = Literal["daphne", "uvicorn", "ovara"]
KINDS: tuple[ServerKind, ...] = get_args(ServerKind)
# Where a test does not say: `TEST_SERVER=ovara make test` is the whole suite on that one.
DEFAULT_KIND = cast(ServerKind, os.environ.get("TEST_SERVER") or "daphne")
HOST = "127.0.0.1"


def _command(kind: ServerKind, port: int) -> list[str]:
    application = "ovara.asgi:application"
    if kind == "ovara":
        return [sys.executable, "-m", "ovara.server", "--host", HOST, "--port", str(port)]
    arguments = {
        "daphne": ["--websocket_timeout", "-1", "-b", HOST, "-p", str(port), application],
        # Daphne's cap on a frame; uvicorn's own is 16 MiB.
        "uvicorn": ["--host", HOST, "--port", str(port), "--ws-max-size", "1048576", application],
    }
    return [sys.executable, "-m", kind, *arguments[kind]]


class ServerProcess(ChildProcess):
    """One node. `restart()` keeps port and database, as a deployment or a crash would."""

    def __init__(
        self,
        database: Database,
        *,
        folder: Path,
        kind: ServerKind = DEFAULT_KIND,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.database = database
        self.kind = kind
        self.port = free_port()
        super().__init__(
            _command(kind, self.port),
            env=server_environment(database.environment, environment or {}),
            cwd=ROOT,
            log_path=folder / f"server-{self.port}.log",
        )

    @property
    def url(self) -> str:
        """The address of REST and pages, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws/"

    def start(self, *, timeout: float = 30) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_until(self.answers, timeout=timeout)

    def restart(self) -> None:
        """Start it anew; kill or terminate it first for one or the other kind of end."""
        if self.is_running:
            self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP, until SIGCONT; but not while it writes: stopped in the midst of a transaction it
        would hold up everybody else for as long."""
        with self.database.write_lock():
            self.signal(signal.SIGSTOP)

    def manage(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `manage.py …` in a process of its own, with the server's settings and database."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def make_user(self, username: str = "", *, is_staff: bool = False) -> Account:
        """A new account; without a name, one that no other test has."""
        return self.database.make_user(username, is_staff=is_staff)

    def answers(self) -> bool:
        """Whether it serves HTTP now."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

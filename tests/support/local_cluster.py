"""`make cluster` for tests: Redis, three nodes and a load balancer behind one address."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.support.database import Account, Database
from tests.support.environment import ROOT, free_port, server_environment
from tests.support.process import ChildProcess

HOST = "127.0.0.1"


class LocalCluster(ChildProcess):
    """What `make cluster` runs when the requirements are installed; ready with `wait_until_ready`.

    To pages and clients it is like a `ServerProcess`.
    """

    def __init__(self, database: Database, *, folder: Path) -> None:
        self.database = database
        self.port = free_port()
        super().__init__(
            [sys.executable, "-m", "scripts.cluster"],
            env=server_environment(database.environment, {"PORT": str(self.port)}),
            cwd=ROOT,
            log_path=folder / "cluster.log",
        )

    @property
    def url(self) -> str:
        """The load balancer's address, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws/"

    @property
    def node_pids(self) -> list[int]:
        """As it prints them."""
        return [int(pid) for pid in re.findall(r"Node +port \d+, process (\d+)", self.logs())]

    async def wait_until_ready(self) -> None:
        """Its last words at the start are Redis' address."""
        await self.wait_for_log("Redis +port", timeout=60)

    def make_user(self, username: str = "", *, is_staff: bool = False) -> Account:
        """A new account; without a name, one that no other test has."""
        return self.database.make_user(username, is_staff=is_staff)

"""A Redis server of the tests' own, on a free port, with nothing on disk."""

from __future__ import annotations

from pathlib import Path

from tests.support.environment import clean_environment, free_port
from tests.support.process import ChildProcess


class RedisServer(ChildProcess):
    """`kill()` and `start()` make an outage; the address stays the same."""

    def __init__(self, program: str, *, folder: Path) -> None:
        self.port = free_port()
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        super().__init__(
            [program, *arguments, "--save", "", "--appendonly", "no"],
            env=clean_environment(),
            cwd=folder,
            log_path=folder / f"redis-{self.port}.log",
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        mark = self.log_mark()
        self.launch()
        self.wait_for_line("Ready to accept connections", since=mark, timeout=15)

"""A server process under measurement."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT, Server

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 60
STOP_SECONDS = 20


class Running:
    """A server process.

    Args:
        log: a file for what it prints.
        core: the only one that it may use, if any.
        profile: where py-spy's samples go, if anywhere.
    """

    def __init__(
        self, server: Server, log: Any, *, core: str | None, profile: Path | None = None
    ) -> None:
        self._profile = profile
        self._sampling: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        pinned = ["taskset", "-c", core] if core is not None else []
        self.process = subprocess.Popen(
            [*pinned, *server.command(self.port)],
            cwd=ROOT,
            env=os.environ | server.environment,
            stdout=log,
            stderr=log,
        )
        self._wait_until_it_listens(server.name)
        time.sleep(0.5)  # to finish what it does at start

    def _wait_until_it_listens(self, name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{name} did not start: see the log")
            time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def cpu_seconds(self) -> float:
        """User and system time of its whole life."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self) -> int:
        """What of its memory is in RAM."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def sample(self, seconds: float) -> None:
        """Sample the server's stacks while the load is on it, where a profile is wanted."""
        if self._profile is not None:
            py_spy = str(Path(sys.executable).with_name("py-spy"))
            options = ["-p", str(self.process.pid), "-d", str(max(1, int(seconds))), "-r", "200"]
            self._sampling = subprocess.Popen(
                [py_spy, "record", *options, "-f", "raw", "-o", str(self._profile)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def stop(self) -> None:
        """End it, by force if need be."""
        if self._sampling is not None:
            self._sampling.wait()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

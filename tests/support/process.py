"""A child process whose output tests can read and wait for while it runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.environment import PATIENCE_SECONDS


class ChildProcess:
    """A program with its output collected line by line; it can be started again after its end.

    Output of all its lives goes to `log_path`, and stays in memory for `wait_for_log`.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_path: Path
    ) -> None:
        self.command = list(command)
        self.env = dict(env)
        self.cwd = cwd
        self.log_path = log_path
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []
        self._news = threading.Condition()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def launch(self) -> None:
        """Start the program; see `wait_until` for when it is ready."""
        assert not self.is_running, "it runs already"
        self._process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A group of its own, so that `kill` and `interrupt` reach the program's children too.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._collect, args=(self._process,), daemon=True)
        self._reader.start()

    def wait_until(self, is_ready: Callable[[], bool], *, timeout: float) -> None:
        """Wait until `is_ready()`, asked often; fail with the log if the program ends first."""
        deadline = time.monotonic() + timeout
        while not is_ready():
            if not self.is_running:
                raise AssertionError(f"{self.command} ended at start:\n{self.logs()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.command} not ready in {timeout} s:\n{self.logs()}")
            # There is no event for "the port answers".
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def wait(self, *, timeout: float = PATIENCE_SECONDS) -> int:
        """Wait for the end, and for the last line of output; the exit code (negative: a signal)."""
        assert self._process is not None, "not started"
        assert self._reader is not None
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command} did not end:\n{self.logs()}") from None
        self._reader.join(timeout)
        return code

    def kill(self) -> None:
        """SIGKILL: what a crash or a power cut does. Harmless if it has ended."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def interrupt(self, *, timeout: float = PATIENCE_SECONDS) -> int:
        """Ctrl-C at a terminal, which reaches the whole group. The exit code."""
        os.killpg(self.pid, signal.SIGINT)
        return self.wait(timeout=timeout)

    def terminate(self, *, timeout: float = PATIENCE_SECONDS) -> int:
        """SIGTERM: what a deployment does. The exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout=timeout)

    def logs(self) -> str:
        """Everything that was printed so far."""
        with self._news:
            return "\n".join(self._lines)

    def log_mark(self) -> int:
        """A place in the log, for `wait_for_log(…, since=mark)`."""
        with self._news:
            return len(self._lines)

    async def wait_for_log(
        self, pattern: str, *, since: int = 0, timeout: float = PATIENCE_SECONDS
    ) -> re.Match[str]:
        """Wait for a line in which the regular expression `pattern` is found."""
        return await asyncio.to_thread(self.wait_for_line, pattern, since=since, timeout=timeout)

    def wait_for_line(
        self, pattern: str, *, since: int = 0, timeout: float = PATIENCE_SECONDS
    ) -> re.Match[str]:
        """The same for tests that are no coroutines."""
        expression = re.compile(pattern)

        def find() -> re.Match[str] | None:
            hits = (expression.search(line) for line in self._lines[since:])
            return next((hit for hit in hits if hit), None)

        with self._news:
            found = self._news.wait_for(find, timeout)
        assert found, f"no line matched {pattern!r} in {timeout} s:\n{self.logs()}"
        return found

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout, self.log_path.open("a") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()

"""A copy of this checkout in another folder, to run its `make` targets there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
from websockets.sync.client import connect as websocket_connect

from tests.support.environment import PATIENCE_SECONDS, ROOT, clean_environment, free_port
from tests.support.process import ChildProcess


def copy_checkout(target: Path) -> Path:
    """Copy every file that git tracks, or would: what a fresh clone has after a commit."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        # A file that was deleted but is still in the index.
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


class MakeRun(ChildProcess):
    """`make run` in `checkout`, in the virtual environment of the tests unless `VENV` is given."""

    def __init__(self, checkout: Path, **environment: str) -> None:
        self.port = int(environment.pop("PORT", 0)) or free_port()
        ours = {"VENV": sys.prefix, "PORT": str(self.port), "PYTHON": ""}
        super().__init__(
            ["make", "run"],
            env=clean_environment(**(ours | environment)),
            cwd=checkout,
            log_path=checkout.with_name(f"make-run-{self.port}.log"),
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, timeout: float = 60) -> None:
        """Start it and wait until it serves."""
        self.launch()
        self.wait_until(self._answers, timeout=timeout)

    def fails(self, *, timeout: float = 60) -> str:
        """Start it, and expect it to end with an error; what it printed."""
        self.launch()
        assert self.wait(timeout=timeout) != 0, self.logs()
        return self.logs()

    def reset(self) -> None:
        """`make reset`."""
        subprocess.run(
            ["make", "reset"], cwd=self.cwd, env=self.env, capture_output=True, check=True
        )

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`manage.py …` with the same settings, `DEBUG` on."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.cwd,
            env=self.env | {"DEBUG": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def printed_password(self) -> str:
        """The demo accounts' password, once it has been printed."""
        return self.wait_for_line(r"shown only this once: (\S+)").group(1)

    def access_token(self, username: str, password: str) -> str | None:
        """Sign in; nothing if the password is wrong."""
        answer = httpx.post(
            f"{self.url}/api/token/", json={"username": username, "password": password}
        )
        token: str | None = answer.json().get("access")
        return token

    def takes(self, token: str) -> bool:
        """Whether a REST call and a WebSocket both take the access token."""
        bearer = {"Authorization": f"Bearer {token}"}
        if httpx.get(f"{self.url}/api/conversations", headers=bearer).status_code != 200:
            return False
        address = f"ws://127.0.0.1:{self.port}/ws/"
        with websocket_connect(address, additional_headers=bearer, proxy=None) as socket:
            return '"welcome"' in str(socket.recv(timeout=PATIENCE_SECONDS))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def other_pythons() -> list[str]:
    """Interpreters of the oldest and of the newest version that we support, where this machine has
    them, without the one that runs the tests: it was installed for already. If there is no other,
    that one."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    found: dict[str, str] = {}
    for version in {"3.11", "3.13"} - {ours}:
        for candidate in _candidates(version):
            if version not in found and _runs(candidate):
                found[version] = candidate
    return sorted(found.values()) or [sys.executable]


def _candidates(version: str) -> list[str]:
    on_path = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    of_pyenv = pyenv.glob(f"{version}.*/bin/python{version}")
    return [*([on_path] if on_path else []), *map(str, of_pyenv)]


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0

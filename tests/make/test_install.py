"""`make` as a newcomer's machine has it: other Pythons, nothing installed, a path with a space."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.make.conftest import Run
from tests.support.checkout import other_pythons
from tests.support.environment import clean_environment

pytestmark = pytest.mark.storeless


def test_make_test_runs_from_a_folder_with_a_space_again_and_again(source: Path) -> None:
    environment = clean_environment(VENV=sys.prefix, PYTHON="", WORKERS="2")
    for _ in range(2):
        done = subprocess.run(
            ["make", "test", "ARGS=tests/frames/test_protocol_page.py -p no:cacheprovider"],
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # Two workers, the tests of one file; before them, those of the browser library under Node.
        assert re.search(r"2 workers .*", done.stdout), done.stdout
        assert re.search(r"\d+ passed", done.stdout), done.stdout


if os.environ.get("CI"):
    # Installing takes the network and half a minute for each Python.
    @pytest.mark.parametrize("python", other_pythons())
    def test_make_run_installs_and_serves_under_other_pythons(
        make_run: Run, tmp_path: Path, python: str
    ) -> None:
        run = make_run(VENV=str(tmp_path / "a venv"), PYTHON=python)
        run.start(timeout=240)
        token = run.access_token("alice", run.printed_password())
        assert token
        assert run.takes(token)

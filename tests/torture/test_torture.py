"""A short torture run; `make torture` is the long one."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from tests.support.environment import ROOT, clean_environment
from tests.support.process import ChildProcess

KILLS = 6


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    seed = os.environ.get("SEED") or str(random.randrange(1_000_000))
    command = [sys.executable, "-m", "scripts.torture", "--seed", seed, "--kills", str(KILLS)]
    run = ChildProcess(command, env=clean_environment(), cwd=ROOT, log_path=tmp_path / "run.log")
    run.launch()
    assert run.wait(timeout=170) == 0, run.logs()
    assert f"{KILLS} kills" in run.logs()

"""A short torture run; `make torture` is the long one."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from tests.conftest import program
from tests.support.environment import ROOT, clean_environment
from tests.support.process import ChildProcess

KILLS = 6


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    seed = os.environ.get("SEED") or str(random.randrange(1_000_000))
    torture(tmp_path, seed, "--kills", str(KILLS), expected=f"{KILLS} kills")


def test_nothing_acknowledged_is_lost_when_nodes_and_redis_are_killed_in_turn(
    tmp_path: Path,
) -> None:
    program("redis-server")
    seed = os.environ.get("SEED") or str(random.randrange(1_000_000))
    cluster = ["--nodes", "3", "--clients", "6", "--conversations", "3"]
    torture(tmp_path, seed, "--kills", "4", *cluster, expected="3 kills and")


def torture(folder: Path, seed: str, *arguments: str, expected: str) -> None:
    command = [sys.executable, "-m", "scripts.torture", "--seed", seed, *arguments]
    run = ChildProcess(command, env=clean_environment(), cwd=ROOT, log_path=folder / "run.log")
    run.launch()
    assert run.wait(timeout=170) == 0, run.logs()
    assert expected in run.logs()

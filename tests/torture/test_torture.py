"""A short torture run; `make torture` is the long one."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from tests.conftest import program
from tests.support.environment import ROOT, clean_environment
from tests.support.process import ChildProcess
from tests.torture.options import REDIS, Options

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
    assert f"SEED={seed} repeats this" in run.logs()


def test_a_seed_repeats_its_kills() -> None:
    plans = [list(Options(seed=seed, nodes=3).schedule()) for seed in (7, 7, 8)]
    assert plans[0] == plans[1] != plans[2]
    assert {kill.node for kill in plans[0]} == {REDIS, 0, 1, 2}

"""docs/operations.md against the code: every setting, variable, metric, event and command line."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.metrics import MetricWrapperBase

from connections import metrics
from ovara.conf import OvaraSettings
from tests.docs.snippets import snippet, table_rows
from tests.support.environment import ROOT, free_port
from tests.support.process import ChildProcess
from tests.support.server import ServerProcess

PAGE = "docs/operations.md"
PACKAGES = ("ovara", "connections", "sessions_app", "scripts")
# Read by the tests, or by tools of the development.
NOT_OF_THE_PROJECT = {"DJANGO_SETTINGS_MODULE", "SEED", "KILLS"}


def codes(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def as_default(value: object) -> str:
    """A default as the table writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return f"{value:.15g}"
    return str(value) if value else "empty"


@pytest.mark.storeless
def test_the_table_of_settings_is_the_dataclass() -> None:
    documented = {
        codes(name)[0]: (default, unit)
        for name, default, unit, _ in table_rows(PAGE, "Ovara's settings")
    }
    fields = {
        f"OVARA_{field.name.upper()}": (as_default(field.default), field.metadata["unit"])
        for field in dataclasses.fields(OvaraSettings)
    }
    assert documented == fields
    assert list(documented) == list(fields)


def sources() -> str:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.storeless
def test_every_variable_that_is_read_is_described_and_no_other() -> None:
    read = set(re.findall(r"env\.\w+\(\s*\"([A-Z_]+)\"", sources()))
    read |= set(re.findall(r"environ\.(?:get|setdefault)\(\s*\"([A-Z_]+)\"", sources()))
    described = {
        name for row in table_rows(PAGE, "Variables of the project") for name in codes(row[0])
    }
    assert described == read - NOT_OF_THE_PROJECT


@pytest.mark.storeless
def test_the_table_of_metrics_is_what_prometheus_gets() -> None:
    described = {
        codes(name)[0]: set(codes(labels)) for name, labels, _ in table_rows(PAGE, "Watching")
    }
    declared = {
        name: set(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for name in [sample_name(metric)]
    }
    ours = {
        f"{family.name}_total" if family.type == "counter" else family.name: labels_of(family)
        for collector in vars(metrics).values()
        if isinstance(collector, metrics.FrameCounter | metrics.Latency)
        for family in collector.collect()
    }
    assert described == declared | ours


def labels_of(family: Any) -> set[str]:
    return set(family._labelnames)


def sample_name(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


@pytest.mark.storeless
def test_the_events_of_the_log_are_those_of_the_code() -> None:
    logged = set(re.findall(r"\b(?:fields|_log)\(\s*\"([a-z_]+)\"", sources()))
    described = {name for row in table_rows(PAGE, "Logs") for name in codes(row[0])}
    assert described == logged


def run(server: ServerProcess, script: str, **environment: str) -> str:
    """A snippet in a shell, with `python` and the other programs of this virtual environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        ["bash", "-e"],
        input=script,
        env=server.env | {"PATH": path} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


def test_the_lines_that_prepare_a_release_work(server: ServerProcess, tmp_path: Path) -> None:
    script = snippet(PAGE, "prepare")
    # Into a folder of the test's own instead of the checkout.
    (tmp_path / "release.py").write_text(
        f"from ovara.settings import *\nSTATIC_ROOT = {str(tmp_path / 'static')!r}\n"
    )
    output = run(
        server,
        script,
        DEBUG="0",
        SECURE_COOKIES="1",
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
        DJANGO_SETTINGS_MODULE="release",
    )
    assert "static files copied" in output
    assert (tmp_path / "static/frontend/ovara/ovara.js").is_file()


@pytest.mark.storeless
@pytest.mark.parametrize("name", ["serve", "serve-uvicorn", "serve-daphne"])
async def test_each_way_to_serve_serves(name: str, server: ServerProcess, tmp_path: Path) -> None:
    port = free_port()
    line = snippet(PAGE, name).strip()
    assert "127.0.0.1" in line and "8000" in line
    program, *arguments = line.replace("8000", str(port)).split()
    process = ChildProcess(
        [str(Path(sys.executable).parent / program), *arguments],
        env=server.env,
        cwd=ROOT,
        log_path=tmp_path / "log",
    )
    process.launch()
    try:
        await asyncio.to_thread(process.wait_until, lambda: answers(port), timeout=30)
        assert process.terminate() in (0, -15)
    finally:
        process.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_the_lines_that_clean_up_work(server: ServerProcess) -> None:
    output = run(server, snippet(PAGE, "cleanup"))
    assert "Dry run: nothing was changed." in output
    assert output.count("Connections inactive for 30 minutes, closed: 0") == 2


@pytest.mark.stores("sqlite")  # the others have tools of their own
def test_the_backup_of_a_running_server_holds_everything(
    server: ServerProcess, tmp_path: Path
) -> None:
    account = server.make_user()
    target = tmp_path / "backup.sqlite3"
    run(
        server,
        snippet(PAGE, "backup"),
        DATABASE_FILE=str(server.database.path),
        BACKUP_FILE=str(target),
    )
    with sqlite3.connect(target) as backup:
        names = {row[0] for row in backup.execute("SELECT username FROM accounts_user")}
    backup.close()
    assert account.username in names

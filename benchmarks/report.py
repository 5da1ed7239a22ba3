"""The results as a Markdown table and plots."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

PACKAGES = ("django", "channels", "daphne", "uvicorn", "picows", "uvloop", "fastapi", "websockets")


class Workload(Protocol):
    name: str
    value: str


def write(results: list[dict[str, Any]], workloads: Sequence[Workload], folder: Path) -> None:
    """results.json, table.md and one plot a workload."""
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    parts = [_versions()]
    for work in workloads:
        rows = _rows(results, work)
        if rows:
            parts.append(f"## {work.name}\n\n{_table(rows)}")
            _plot(rows, work, folder)
    (folder / "table.md").write_text("\n\n".join(parts) + "\n")


def _rows(results: list[dict[str, Any]], work: Workload) -> list[tuple[str, list[float], float]]:
    """Server, values of the rounds, CPU seconds per 100,000 (median)."""
    servers = dict.fromkeys(one["server"] for one in results if one["work"] == work.name)
    rows = []
    for server in servers:
        mine = [one for one in results if one["work"] == work.name and one["server"] == server]
        values = [one[work.value] for one in mine if work.value in one]
        if values:
            cpu = statistics.median(one.get("cpu_per_100000", 0.0) for one in mine)
            rows.append((server, values, cpu))
    return rows


def _table(rows: list[tuple[str, list[float], float]]) -> str:
    lines = [
        "| server | median | lowest | highest | CPU s per 100,000 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for server, values, cpu in rows:
        middle = statistics.median(values)
        digits = 0 if middle >= 100 else 1
        shown = " | ".join(f"{one:,.{digits}f}" for one in (middle, min(values), max(values)))
        lines.append(f"| {server} | {shown} | {cpu:.2f} |")
    return "\n".join(lines)


def _versions() -> str:
    parts = [f"Python {platform.python_version()}"]
    parts += [f"{name} {version(name)}" for name in PACKAGES]
    parts.append(
        "node "
        + subprocess.run(
            ["node", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    return ", ".join(parts) + "."


def _plot(rows: list[tuple[str, list[float], float]], work: Workload, folder: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    rows.reverse()
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(rows) + 1))
    medians = [statistics.median(values) for _, values, _ in rows]
    colours = ["#2f6fed" if name.startswith("Ovara") else "#9aa4b2" for name, _, _ in rows]
    axes.barh([name for name, _, _ in rows], medians, color=colours)
    for place, (_, values, _) in enumerate(rows):
        axes.plot([min(values), max(values)], [place, place], color="black", linewidth=1)
    axes.set_title(work.name)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    name = "".join(letter if letter.isalnum() else "-" for letter in work.name.lower())
    figure.savefig(folder / f"{name}.svg")
    plt.close(figure)

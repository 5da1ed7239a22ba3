"""The results as a Markdown table and plots."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT
from benchmarks.workloads import TARGETS, WORKLOADS, Target, Workload

PACKAGES = (
    *("django", "channels", "daphne", "uvicorn", "picows", "uvloop", "httptools", "msgspec"),
    *("djangorestframework-simplejwt", "fastapi", "websockets"),
)
OURS, THEIRS, MET, NOT_MET = "#2f6fed", "#9aa4b2", "#2a9d5c", "#c9504a"


@dataclass(frozen=True)
class Row:
    """One server in one workload: each round's value, and medians of what it took."""

    server: str
    by_round: dict[int, float]
    cpu_per_100000: float
    load_cpu: float

    @property
    def values(self) -> list[float]:
        return list(self.by_round.values())

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def write(results: list[dict[str, Any]], folder: Path) -> None:
    """results.json, table.md and plots."""
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    found = {work.name: _rows(results, work) for work in WORKLOADS}
    parts = [_versions(), _targets_table(found, folder)]
    for work in WORKLOADS:
        rows = found[work.name]
        if rows:
            parts.append(f"## {work.name}\n\n{_table(rows)}")
            _plot(list(rows.values()), work, folder)
    (folder / "table.md").write_text("\n\n".join(part for part in parts if part) + "\n")


def _rows(results: list[dict[str, Any]], work: Workload) -> dict[str, Row]:
    """By server."""
    mine = [one for one in results if one["work"] == work.name and work.value in one]
    return {
        server: Row(
            server,
            {one["round"]: one[work.value] for one in mine if one["server"] == server},
            _median(mine, server, "cpu_per_100000"),
            _median(mine, server, "load_cpu"),
        )
        for server in dict.fromkeys(one["server"] for one in mine)
    }


def _median(results: list[dict[str, Any]], server: str, name: str) -> float:
    return statistics.median(one.get(name, 0.0) for one in results if one["server"] == server)


# Targets.


def _targets_table(found: dict[str, dict[str, Row]], folder: Path) -> str:
    lines = []
    bars: list[tuple[str, float, bool]] = []
    for target in TARGETS:
        rows = found[target.work.name]
        if target.ours not in rows or target.theirs not in rows:
            continue
        ours, theirs = rows[target.ours], rows[target.theirs]
        ratio = ours.median / theirs.median if theirs.median else 0.0
        less = target.work.less_is_better
        met = ratio <= target.factor if less else ratio >= target.factor
        wanted = f"{'at most' if less else 'at least'} {target.factor:g} ×"
        lines.append(
            f"| {target.work.name} | {target.ours} | {target.theirs} | {wanted} | {ratio:.2f} × "
            f"| {_spread(ours, theirs)} | {'met' if met else '**not met**'} |"
        )
        reached = (target.factor / ratio if less else ratio / target.factor) if ratio else 0.0
        bars.append((_name(target), reached, met))
    if not lines:
        return ""
    _plot_targets(bars, folder)
    head = (
        "| workload | | against | target | measured | rounds | |\n| --- | --- | --- | ---: | ---: "
    )
    return "## Targets\n\n" + head + "| ---: | --- |\n" + "\n".join(lines)


def _spread(ours: Row, theirs: Row) -> str:
    """The least and the greatest of the rounds' ratios."""
    ratios = [
        ours.by_round[one] / theirs.by_round[one]
        for one in ours.by_round.keys() & theirs.by_round.keys()
        if theirs.by_round[one]
    ]
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""


def _name(target: Target) -> str:
    return f"{target.work.name}\n{target.ours} : {target.theirs}"


def _plot_targets(bars: list[tuple[str, float, bool]], folder: Path) -> None:
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(8, 0.55 * len(bars) + 1))
    bars.reverse()
    colours = [MET if met else NOT_MET for _, _, met in bars]
    axes.barh([name for name, _, _ in bars], [reached for _, reached, _ in bars], color=colours)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("measured, as a part of the target (1: just met)")
    axes.tick_params(axis="y", labelsize=7)
    _save(figure, axes, folder / "targets.svg")


# Workloads.


def _table(rows: dict[str, Row]) -> str:
    lines = [
        "| server | median | lowest | highest | CPU s per 100,000 | generator's share of a core |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows.values():
        digits = 0 if row.median >= 100 else 1
        shown = [row.median, min(row.values), max(row.values)]
        cells = [f"{one:,.{digits}f}" for one in shown]
        cells.append(f"{row.cpu_per_100000:.2f}" if row.cpu_per_100000 else "")
        cells.append(f"{row.load_cpu:.2f}" if row.load_cpu else "")
        lines.append(f"| {row.server} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _plot(rows: list[Row], work: Workload, folder: Path) -> None:
    plt = _pyplot()
    rows.reverse()
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(rows) + 1))
    colours = [OURS if row.server.startswith("Ovara") else THEIRS for row in rows]
    axes.barh([row.server for row in rows], [row.median for row in rows], color=colours)
    for place, row in enumerate(rows):
        axes.plot([min(row.values), max(row.values)], [place, place], color="black", linewidth=1)
    axes.set_title(work.name)
    name = "".join(letter if letter.isalnum() else "-" for letter in work.name.lower())
    _save(figure, axes, folder / f"{name}.svg")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    _pyplot().close(figure)


def _versions() -> str:
    parts = [f"Python {platform.python_version()}"]
    parts += [f"{name} {version(name)}" for name in PACKAGES]
    parts.append(f"node {_output('node', '--version')}")
    pinned = json.loads((ROOT / "benchmarks" / "package.json").read_text())["dependencies"]
    parts += [f"{name} {number}" for name, number in pinned.items()]
    return f"{', '.join(parts)}; {platform.system()} {platform.release()}, {platform.machine()}."


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

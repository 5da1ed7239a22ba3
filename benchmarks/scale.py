"""A large database beside an almost empty one: what a user and an operator wait for.

    python -m benchmarks.scale                         SQLite and PostgreSQL, about ten minutes
    python -m benchmarks.scale --short                 a hundredth of it, a minute or two
    python -m benchmarks.scale --stores sqlite --requests 50

The large one has 1,000,000 messages in 10,000 conversations (five with 50,000, most with 28),
50,000 open connections of four nodes and as many closed ones, 25,000 sessions: see
`tests/support/crowd`.
It is filled by bulk. A server process (the recommended one) serves it, and a client that has
nothing else to do asks one thing after the other by REST, by WebSocket and in the admin. The
connections of the crowd are rows alone: no sockets are behind them.

PostgreSQL is a server of this run's own, as it comes, with fsync. `queries` are those of one
answer, as Django makes them for a page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT

STORES = ("sqlite", "postgresql")
# Messages, conversations, open connections. A page of the small one is as full as the large one's.
EMPTY, LARGE, SHORT = (2_000, 200, 20), (1_000_000, 10_000, 50_000), (20_000, 400, 1_000)
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "ovara.settings",
    "SECRET_KEY": "benchmark" * 6,
    "LOG_LEVEL": "WARNING",
    "OVARA_FRAMES_PER_SECOND": "1000000",
    "OVARA_FRAME_BURST": "1000000",
    "OVARA_HANDSHAKES_PER_SECOND": "1000000",
    "OVARA_HANDSHAKE_BURST": "1000000",
    "OVARA_ACCESS_TOKEN_LIFETIME_SECONDS": "86400",
    # The crowd's nodes never beat; and nothing is cleaned up but by the command.
    "OVARA_NODE_LAPSE_SECONDS": "86400",
    "OVARA_CLEANUP_INTERVAL_SECONDS": "86400",
}


def measured(store: str, size: tuple[int, ...], requests: int) -> dict[str, Any]:
    """The figures of one database, in a process of its own: Django has one."""
    words = ["--one", store, "--size", ",".join(map(str, size)), "--requests", str(requests)]
    command = [sys.executable, "-m", "benchmarks.scale", *words]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def measure_one(kind: str, size: tuple[int, ...], requests: int) -> dict[str, Any]:
    """Make a database of that store and size, fill it, serve it, ask."""
    os.environ.update(ENVIRONMENT)
    from tests.support.stores import make_store

    with tempfile.TemporaryDirectory(prefix="ovara-scale-") as name:
        folder = Path(name)
        store = make_store(kind)
        if kind == "postgresql":
            # Durable, as the tests' server is not; the last word on the command line counts.
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                store.process.command += ["-c", f"{setting}=on"]  # type: ignore[attr-defined]
        store.start()
        try:
            database = store.new_name(folder / "db.sqlite3")
            store.create(database)
            os.environ.update(store.environment(database))
            import django

            django.setup()
            from benchmarks.scale_calls import ask, prepare

            crowd = prepare(size)
            return ask(crowd, folder, requests)
        finally:
            store.stop()


def table(store: str, empty: dict[str, Any], large: dict[str, Any]) -> str:
    """The result of one store as Markdown."""
    lines = [
        f"| {store} | queries | almost empty: p50 ms | max | large: p50 ms | max | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in large["waits"].items():
        small, big = empty["waits"][name], one
        before, after = statistics.median(small), statistics.median(big)
        lines.append(
            f"| {name} | {large['queries'].get(name, '')} | {before:.1f} | {max(small):.1f} "
            f"| {after:.1f} | {max(big):.1f} | {after / before:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--requests", type=int, default=30, help="of each kind")
    parser.add_argument("--short", action="store_true", help="a hundredth of the size")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        size = tuple(int(word) for word in options.size.split(","))
        print(json.dumps(measure_one(options.one, size, options.requests)))
        return
    for store in options.stores.split(","):
        empty = measured(store, EMPTY, options.requests)
        large = measured(store, SHORT if options.short else LARGE, options.requests)
        print(f"{table(store, empty, large)}\n\n{json.dumps(large['sizes'])}\n", flush=True)


if __name__ == "__main__":
    main()

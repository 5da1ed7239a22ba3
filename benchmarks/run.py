"""Ovara beside other servers: deliveries, latency, round trips, storing, memory, handshakes.

    make bench                 everything, three rounds: under half an hour
    make bench ARGS=--short    short rounds, one of them, only who is in a target: some minutes
    python -m benchmarks.run --only "Ovara|node ws" --workload deliveries --rounds 3
    python -m benchmarks.run --only "Ovara, rec" --workload durable --rounds 1 --profile

Each server runs on one core and the load generator (load.c) on another. The contestants take turns
within a round, so that what else the machine does meets all of them. On a machine that does much
else the CPU column still says something; the other figures need it quiet. Written to `--output`:
results.json, table.md and plots; with `--profile` also py-spy's samples, for flamegraph.pl.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.running import Running
from benchmarks.servers import ROOT, Server, World, ovara, peers
from benchmarks.workloads import IN_TARGETS, WORKLOADS, Workload

SERVER_CORE, LOAD_CORE = "0", "1"
# Twice the clients of the greatest workload but idling, so that handshakes are not the same few.
ACCOUNTS = 2000
# Longer than anything that works takes; then the generator is stopped, and the run goes on.
PATIENCE_SECONDS = 150
# The memory of a server that has just taken many connections comes to rest.
SETTLE_SECONDS = 3
COUNTED = ("deliveries", "rounds", "handshakes")


@dataclass(frozen=True)
class Bench:
    """How every measurement is taken. `load` is the generator, `folder` for what is passing."""

    load: Path
    folder: Path
    seconds: float

    def measure(
        self, server: Server, work: Workload, profile: Path | None = None
    ) -> dict[str, float]:
        """One round of one workload.

        Raises:
            RuntimeError: a delivery was missing, double or out of order, or the server failed.
        """
        script = self.folder / "script"
        script.write_text(server.scripts[work.script]().text())
        with (self.folder / "server.log").open("a") as log:
            running = Running(server, log, core=SERVER_CORE, profile=profile)
            try:
                return self._load(running, work, script)
            finally:
                running.stop()

    def _load(self, running: Running, work: Workload, script: Path) -> dict[str, float]:
        arguments = [work.mode, "127.0.0.1", str(running.port), str(script), str(self.seconds)]
        arguments += [str(work.connections), str(work.in_flight), str(work.rate)]
        generator = subprocess.Popen(
            ["taskset", "-c", LOAD_CORE, str(self.load), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        patience = threading.Timer(PATIENCE_SECONDS + 2 * self.seconds, generator.kill)
        patience.start()
        try:
            with generator:
                found = self._watch(generator, running, work)
        finally:
            patience.cancel()
        return found

    def _watch(
        self, generator: subprocess.Popen[str], running: Running, work: Workload
    ) -> dict[str, float]:
        assert generator.stdin and generator.stdout and generator.stderr
        cpu, some_bytes = 0.0, 0
        found: dict[str, float] = {}
        for line in generator.stdout:
            word = line.strip()
            if word in ("some", "ready") and work.mode == "idle":
                time.sleep(SETTLE_SECONDS)
                here = running.resident_bytes()
                more = work.connections - work.in_flight
                found["kib"] = (here - some_bytes) / more / 1024
                some_bytes = here
                generator.stdin.write("\n")
                generator.stdin.flush()
            elif word == "measuring":
                cpu = running.cpu_seconds()
                running.sample(self.seconds)
            elif word == "measured":
                cpu = running.cpu_seconds() - cpu
            elif word.startswith("{"):
                found = json.loads(word)
        if generator.wait():
            raise RuntimeError(generator.stderr.read().strip() or "it took too long")
        return found if work.mode == "idle" else _per_second(found, cpu)


def _per_second(found: dict[str, float], cpu: float) -> dict[str, float]:
    seconds = found["seconds"]
    for name in COUNTED:
        found[name] /= seconds
    done = next((found[name] for name in COUNTED if found[name]), 0.0)
    found["cpu_per_100000"] = cpu / seconds / done * 100_000 if done else 0.0
    found["server_cpu"] = cpu / seconds
    return found


def build(folder: Path) -> Path:
    """Compile the load generator."""
    load = folder / "load"
    source = ROOT / "benchmarks" / "load.c"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(load), str(source)], check=True)
    return load


def token() -> str:
    """A token of the tutorial's user, whose key is 1."""
    from rest_framework_simplejwt.tokens import AccessToken

    made = AccessToken()
    made["user_id"] = 1
    return str(made)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=27, help="no round begins that would end")
    parser.add_argument("--short", action="store_true", help="one round of two seconds")
    parser.add_argument("--only", default="", help="a regular expression of servers' names")
    parser.add_argument("--workload", default="", help="a regular expression of workloads' names")
    parser.add_argument("--profile", action="store_true", help="sample with py-spy")
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "bench")
    options = parser.parse_args()
    if options.short:
        options.seconds, options.rounds = 2, 1
    return options


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = World(folder, ACCOUNTS)
        bench = Bench(build(folder), folder, options.seconds)
        pairs = [
            (work, server)
            for work in WORKLOADS
            for server in ovara(world) + peers(folder, token)
            if work.script in server.scripts
            and re.search(options.workload, work.name)
            and re.search(options.only, server.name)
            and not (options.short and server.name not in IN_TARGETS)
        ]
        for number in range(options.rounds):
            took = (time.monotonic() - begun) / max(number, 1)
            if number and time.monotonic() - begun + took > options.minutes * 60:
                print(f"{number} of {options.rounds} rounds: the time is over", flush=True)
                break
            for work, server in pairs:
                profile = None
                if options.profile:
                    plain = re.sub(r"\W+", "-", f"{work.name} {server.name}")
                    profile = options.output / f"{plain}.txt"
                found = _measured(bench, server, work, profile)
                results.append({"round": number, "work": work.name, "server": server.name, **found})
            # What there is, in case that the rest is cut off.
            report.write(results, options.output)
    print((options.output / "table.md").read_text())
    if any("failed" in one for one in results):
        raise SystemExit("Some measurements failed: see above.")


def _measured(
    bench: Bench, server: Server, work: Workload, profile: Path | None
) -> dict[str, float]:
    """`Bench.measure`, told; `{"failed": 1}` where it failed."""
    try:
        found = bench.measure(server, work, profile)
    except RuntimeError as error:
        print(f"{work.name:42} {server.name:26} FAILED: {error}", flush=True)
        print((bench.folder / "server.log").read_text()[-2000:], file=sys.stderr)
        return {"failed": 1.0}
    shown = f"{found[work.value]:12,.1f}"
    if "server_cpu" in found:
        shown += f"  cpu {found['server_cpu']:.2f}  generator {found['load_cpu']:.2f}"
    print(f"{work.name:42} {server.name:26} {shown}", flush=True)
    return found


if __name__ == "__main__":
    main()

"""Ovara beside other servers: deliveries, latency, round trips, storing, memory, handshakes.

    make bench                 everything, five rounds: about an hour
    make bench ARGS=--short    short rounds, two of them
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
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.servers import ROOT, Server, World, ovara, peers

SERVER_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Workload:
    """What is measured, and how the load generator is called for it."""

    name: str
    script: str
    mode: str
    connections: int
    in_flight: int = 1
    rate: float = 0
    value: str = "deliveries"
    # A server takes part whose name matches.
    who: str = ""


WORKLOADS = [
    Workload("deliveries/s, 1,000 members, 4 in flight", "room", "fanout", 1000, 4),
    Workload("deliveries/s, 100 members, 16 in flight", "room", "fanout", 100, 16),
    Workload("p99 ms, 1,000 members, 10 publications/s", "room", "rate", 1000, 1, 10, "p99_ms"),
    Workload("round trips/s, 50 connections", "ping", "echo", 50, value="rounds"),
    Workload("durable acks/s, 100 connections", "store", "echo", 100, value="rounds"),
    Workload("handshakes/s, 32 at once", "connect", "connect", 32, 32, value="handshakes"),
    Workload("idle KiB a connection, 1,000", "idle", "idle", 1000, value="kib"),
]


class Running:
    """A server process on its core."""

    def __init__(self, server: Server, log: Any, profile: Path | None = None) -> None:
        self._profile = profile
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *server.command(self.port)],
            cwd=ROOT,
            env=os.environ | server.environment,
            stdout=log,
            stderr=log,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{server.name} did not start: see the log") from None
                time.sleep(0.05)
        time.sleep(0.5)  # to finish what it does at start

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def profile(self, seconds: float) -> None:
        """Sample the server's stacks while the load is on it."""
        if self._profile is not None:
            options = ["-p", str(self.process.pid), "-d", str(max(1, int(seconds))), "-r", "200"]
            subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("py-spy")),
                    "record",
                    *options,
                    "-f",
                    "raw",
                    "-o",
                    str(self._profile),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def measure(
    server: Server,
    load: Path,
    work: Workload,
    seconds: float,
    folder: Path,
    profile: Path | None = None,
) -> dict[str, float]:
    """One round of one workload; raises where a delivery was missing, double or out of order."""
    script = folder / "script"
    script.write_text(server.scripts[work.script]().text())
    with (folder / "server.log").open("a") as log:
        running = Running(server, log, profile)
        try:
            before = running.resident_bytes()
            arguments = [work.mode, "127.0.0.1", str(running.port), str(script), str(seconds)]
            arguments += [str(work.connections), str(work.in_flight), str(work.rate)]
            generator = subprocess.Popen(
                ["taskset", "-c", LOAD_CORE, str(load), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            return _watch(generator, running, work, before, seconds)
        finally:
            running.stop()


def _watch(
    generator: subprocess.Popen[str], running: Running, work: Workload, before: int, wanted: float
) -> dict[str, float]:
    assert generator.stdout is not None and generator.stderr is not None
    cpu = 0.0
    found: dict[str, float] = {}
    for line in generator.stdout:
        word = line.strip()
        if word == "ready" and work.mode == "idle":
            time.sleep(3)
            found["kib"] = (running.resident_bytes() - before) / work.connections / 1024
            generator.communicate("")
            return found
        if word == "measuring":
            cpu = running.cpu_seconds()
            running.profile(wanted)
        elif word == "measured":
            cpu = running.cpu_seconds() - cpu
        elif word.startswith("{"):
            found = json.loads(word)
    if generator.wait():
        raise RuntimeError(generator.stderr.read().strip())
    seconds = found["seconds"]
    for name in ("deliveries", "rounds", "handshakes"):
        found[name] /= seconds
    done = found["deliveries"] or found["rounds"] or found["handshakes"]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="two rounds of two seconds")
    parser.add_argument("--only", default="", help="a regular expression of servers' names")
    parser.add_argument("--workload", default="", help="a regular expression of workloads' names")
    parser.add_argument("--profile", action="store_true", help="sample with py-spy")
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "bench")
    options = parser.parse_args()
    if options.short:
        options.seconds, options.rounds = 2, 2
    options.output.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = build(folder)
        world = World(folder, max(work.connections for work in WORKLOADS))
        contestants = ovara(world) + peers(folder, token)
        for number in range(options.rounds):
            for work in WORKLOADS:
                if not re.search(options.workload, work.name):
                    continue
                for server in contestants:
                    if work.script not in server.scripts:
                        continue
                    if not re.search(options.only, server.name):
                        continue
                    plain = re.sub(r"\W+", "-", f"{work.name} {server.name}")
                    profile = options.output / f"{plain}.txt" if options.profile else None
                    try:
                        found = measure(server, load, work, options.seconds, folder, profile)
                    except RuntimeError as error:
                        print(f"{work.name:45} {server.name:28} FAILED: {error}", flush=True)
                        found = {"failed": 1.0}
                        log = (folder / "server.log").read_text()
                        print(log[-2000:], file=sys.stderr)
                    else:
                        shown = f"{found[work.value]:12,.1f}  cpu {found.get('server_cpu', 0):.2f}"
                        print(
                            f"{work.name:45} {server.name:28} {shown}"
                            f"  load {found.get('load_cpu', 0):.2f}",
                            flush=True,
                        )
                    results.append(
                        {"round": number, "work": work.name, "server": server.name, **found}
                    )
    report.write(results, WORKLOADS, options.output)
    print((options.output / "table.md").read_text())


if __name__ == "__main__":
    main()

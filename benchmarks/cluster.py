"""Many nodes: deliveries through Redis with 1, 2 and 4 of them, and the storm after one's death.

    python -m benchmarks.cluster                       small, a few minutes
    python -m benchmarks.cluster --storm 5000          needs `ulimit -n` of 12000
    python -m benchmarks.cluster --nodes 1,2 --members 1000 --seconds 10 --rounds 3

All processes share the machine's cores as they come: nodes, Redis and the load generator (load.c).
So beside deliveries a second it says what CPU time each of them took for 100,000 of them; on few or
busy cores that alone can be compared. Nodes share one SQLite file, in a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT, Script, World
from scripts.cluster import free_ports, redis_command, wait_until_answers

TICKS = os.sysconf("SC_CLK_TCK")
IN_FLIGHT = 4
STORM_NODES = 2
STORM_SECONDS = 300
# Sockets of the load generator and of one node, and some more.
FILES_A_CLIENT = 2


class Cluster:
    """Redis and some nodes of the recommended server, until the end of `with`."""

    def __init__(self, folder: Path, world: World, count: int) -> None:
        redis_port, *self.ports = free_ports(1 + count)
        redis = shutil.which("redis-server") or sys.exit("No redis-server: make test-deps")
        environment = os.environ | world.environment
        environment["REDIS_URL"] = f"redis://127.0.0.1:{redis_port}/0"
        self._log = (folder / "cluster.log").open("a")
        self.redis = self._start(redis_command(redis, redis_port, str(folder)), environment)
        self.nodes = [
            self._start([sys.executable, "-m", "ovara.server", "--port", str(port)], environment)
            for port in self.ports
        ]
        for port in self.ports:
            wait_until_answers(f"http://127.0.0.1:{port}/healthz")

    def _start(
        self, command: Sequence[str], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self._log, stderr=self._log
        )

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: all nodes together, and Redis."""
        return {
            "nodes": sum(cpu_seconds(node.pid) for node in self.nodes),
            "redis": cpu_seconds(self.redis.pid),
        }

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.nodes, self.redis):
            process.kill()
            process.wait()
        self._log.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def load(
    folder: Path, program: Path, script: Script, cluster: Cluster, *words: object
) -> Iterator[subprocess.Popen[str]]:
    """The load generator; `words` are its mode, and what follows the script's name."""
    path = folder / "script"
    path.write_text(script.text())
    mode, *rest = (str(word) for word in words)
    ports = ",".join(str(port) for port in cluster.ports)
    command = [str(program), mode, "127.0.0.1", ports, str(path), *rest]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        yield process
        if process.wait():
            assert process.stderr is not None
            raise SystemExit(f"the load generator: {process.stderr.read().strip()}")
    finally:
        process.kill()


def deliveries(
    folder: Path, program: Path, world: World, count: int, members: int, seconds: float
) -> dict[str, float]:
    """`members` of one conversation, spread over `count` nodes; each gets all, in order."""
    found: dict[str, Any] = {}
    with Cluster(folder, world, count) as cluster:
        words = ("fanout", seconds, members, IN_FLIGHT, 0)
        before: dict[str, float] = {}
        with load(folder, program, world.room(), cluster, *words) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("measuring"):
                    before = cluster.cpu()
                elif line.startswith("measured"):
                    after = cluster.cpu()
                elif line.startswith("{"):
                    found = json.loads(line)
    done = found["deliveries"]
    per = {name: (after[name] - before[name]) / done * 100_000 for name in before}
    total = per["nodes"] + per["redis"]
    return {
        "deliveries_per_second": done / found["seconds"],
        "nodes_cpu_per_100000": per["nodes"],
        "redis_cpu_per_100000": per["redis"],
        "redis_share": per["redis"] / total if total else 0.0,
        "load_cpu": found["load_cpu"],
    }


def storm(folder: Path, program: Path, world: World, clients: int) -> dict[str, float]:
    """Kill the node that has all `clients`: when are they back on the other?"""
    with Cluster(folder, world, STORM_NODES) as cluster:
        victim, survivor = cluster.nodes
        words = ("storm", STORM_SECONDS, clients, 0, 0)
        with load(folder, program, world.idle(), cluster, *words) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(2)
            before, cpu = peak_bytes(survivor.pid), cpu_seconds(survivor.pid)
            victim.send_signal(signal.SIGKILL)
            found: dict[str, float] = json.loads(process.stdout.readline())
            cpu = cpu_seconds(survivor.pid) - cpu
            after = peak_bytes(survivor.pid)
        found |= {"cpu_seconds": cpu, "before_mib": before / 2**20, "peak_mib": after / 2**20}
        return found


def allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            raise SystemExit(f"{count} open files are needed, {hard} are allowed: ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="1,2,4", help="numbers of nodes; empty: none")
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--storm", type=int, default=1000, help="clients; 0: none")
    options = parser.parse_args()
    counts = [int(word) for word in options.nodes.split(",") if word]
    allow_files(FILES_A_CLIENT * max(options.storm, options.members) + 200)
    with tempfile.TemporaryDirectory(prefix="ovara-bench-") as name:
        folder = Path(name)
        program = folder / "load"
        source = ROOT / "benchmarks" / "load.c"
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        world = World(folder, options.members if counts else options.storm)
        results: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
        for _ in range(options.rounds if counts else 0):
            for count in counts:
                one = deliveries(folder, program, world, count, options.members, options.seconds)
                results[count].append(one)
                print(count, "nodes", json.dumps(one), flush=True)
        for count, rounds in results.items():
            middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
            print("median", count, "nodes", json.dumps(middle), flush=True)
        if options.storm and not counts:
            print("storm", json.dumps(storm(folder, program, world, options.storm)), flush=True)
    if options.storm and counts:
        # A process has one database, and its conversation has all accounts in it.
        again = [sys.executable, "-m", "benchmarks.cluster", "--nodes", ""]
        subprocess.run([*again, "--storm", str(options.storm)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()

"""What an idle connection's memory is made of: Python's own part of it, line by line.

    python -m benchmarks.memory [--lines 40]

Ovara's recommended server runs under tracemalloc with 500, then 2,500 connections, each
authenticated, registered and joined to a conversation of its own; what came with the 2,000 is
shown. What C libraries (uvloop, OpenSSL) and the kernel hold is not in it: that is in the resident
memory that `make bench` measures.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import FrameType

from benchmarks.run import build
from benchmarks.running import Running
from benchmarks.servers import ROOT, World, ovara
from benchmarks.workloads import IDLE

SETTLE_SECONDS = 3
SNAPSHOT = "BENCHMARK_SNAPSHOT"


def serve() -> None:
    """The server, which writes what it has allocated into a file at SIGUSR1."""
    from uvicorn.main import main as uvicorn

    from ovara.server.__main__ import arguments

    tracemalloc.start()

    def dump(number: int, frame: FrameType | None) -> None:
        tracemalloc.take_snapshot().dump(os.environ[SNAPSHOT])

    signal.signal(signal.SIGUSR1, dump)
    uvicorn([*arguments(), *sys.argv[2:]])


def snapshot(running: Running, path: Path) -> tracemalloc.Snapshot:
    """What the server has allocated now."""
    time.sleep(SETTLE_SECONDS)
    path.unlink(missing_ok=True)
    running.process.send_signal(signal.SIGUSR1)
    size = -1
    while not path.exists() or path.stat().st_size != size:
        size = path.stat().st_size if path.exists() else -1
        time.sleep(0.5)
    return tracemalloc.Snapshot.load(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        folder, path = Path(name), Path(name) / "snapshot"
        world = World(folder, IDLE.connections)
        (folder / "script").write_text(world.idle().text())
        server = replace(
            ovara(world)[0],
            command=lambda port: [
                *(sys.executable, "-m", "benchmarks.memory", "serve", "--port", str(port)),
                *("--log-level", "warning"),
            ],
            environment=world.environment | {SNAPSHOT: str(path)},
        )
        running = Running(server, log, core=None)
        arguments = ["idle", "127.0.0.1", str(running.port), str(folder / "script"), "1"]
        arguments += [str(IDLE.connections), str(IDLE.in_flight), "0"]
        generator = subprocess.Popen(
            [str(build(folder)), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert generator.stdin and generator.stdout
        found = []
        try:
            for _ in generator.stdout:
                found.append((snapshot(running, path), running.resident_bytes()))
                generator.stdin.write(b"\n")
                generator.stdin.flush()
        finally:
            generator.kill()
            running.stop()
    show(found, IDLE.connections - IDLE.in_flight, options.lines)


def show(found: list[tuple[tracemalloc.Snapshot, int]], more: int, lines: int) -> None:
    """The difference between two moments with so many connections more."""
    (before, _), (after, _) = found
    differences = after.compare_to(before, "lineno")
    total = sum(one.size_diff for one in differences)
    print(f"{total / more / 1024:.1f} KiB of Python objects a connection")
    for one in differences[:lines]:
        frame = one.traceback[0]
        place = frame.filename.replace(f"{ROOT}/", "").rpartition("site-packages/")[2]
        count = one.count_diff / more
        print(f"{one.size_diff / more:8.0f} bytes {count:6.1f} objects  {place}:{frame.lineno}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve()
    else:
        main()

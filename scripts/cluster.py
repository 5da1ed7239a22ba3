"""`make cluster`: Redis, three nodes and a load balancer on this machine, until Ctrl-C.

The nodes share the database of `make run`. Kill one of them, or Redis, and see what the page does.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from scripts.run import fail, port_number, prepare, print_addresses, refuse_port_in_use

NODES = 3
NODE_HOST = "127.0.0.1"
READY_SECONDS = 60.0
# A node drains before it ends; one that takes longer is killed.
END_SECONDS = 20.0
CONFIGURATION = Path(__file__).resolve().parent.parent / "deploy" / "haproxy.cfg"


def main() -> None:
    host = os.environ.get("HOST") or "127.0.0.1"
    port = port_number(os.environ.get("PORT") or "8000")
    redis, haproxy = (_program(name) for name in ("redis-server", "haproxy"))
    refuse_port_in_use(host, port)
    redis_port, *node_ports = free_ports(1 + NODES)
    os.environ["REDIS_URL"] = f"redis://{NODE_HOST}:{redis_port}/0"
    # As SIGINT does: an exception, so that everything is ended in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="ovara-cluster-") as folder:
        try:
            processes.append(_start(redis_command(redis, redis_port, folder)))
            prepare(host)
            nodes = [_start(_node_command(node_port)) for node_port in node_ports]
            # First in the list are the first to be ended: nodes need Redis to the end.
            processes[:0] = nodes
            for node_port in node_ports:
                wait_until_answers(f"http://{NODE_HOST}:{node_port}/healthz")
            addresses = {
                f"OVARA_NODE_{number}": f"{NODE_HOST}:{node_port}"
                for number, node_port in enumerate(node_ports, start=1)
            }
            balancer = [haproxy, "-f", str(CONFIGURATION)]
            processes.append(_start(balancer, OVARA_LISTEN=f"{host}:{port}", **addresses))
            wait_until_answers(f"http://{NODE_HOST}:{port}/healthz")
            print_addresses(host, port)
            for node, node_port in zip(nodes, node_ports, strict=True):
                print(f"  Node      port {node_port}, process {node.pid}")
            print(f"  Redis     port {redis_port}, process {processes[NODES].pid}\n", flush=True)
            for process in processes:
                process.wait()
        except KeyboardInterrupt:
            print("Stopping …", flush=True)
        finally:
            _end(processes)


def redis_command(program: str, port: int, folder: str) -> list[str]:
    """Nothing of it is worth keeping on disk."""
    where = ["--bind", NODE_HOST, "--port", str(port), "--dir", folder]
    return [program, *where, "--save", "", "--appendonly", "no", "--loglevel", "warning"]


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on now; all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((NODE_HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_until_answers(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own http address
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                fail(f"{url} does not answer: {error}")
            time.sleep(0.1)


def _program(name: str) -> str:
    return shutil.which(name) or fail(f"{name} is not installed: make test-deps")


def _node_command(port: int) -> list[str]:
    # Only the load balancer reaches this port, so what it says of addresses is true.
    where = ["-b", NODE_HOST, "-p", str(port), "--proxy-headers"]
    daphne = ["-m", "daphne", "--websocket_timeout", "-1", *where]
    return [sys.executable, *daphne, "ovara.asgi:application"]


def _start(command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches this process alone, which ends the others in order.
    return subprocess.Popen(  # noqa: S603 - our own commands
        command, env=os.environ | environment, start_new_session=True
    )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """First the nodes, all at once: they send their clients away, and need Redis meanwhile."""
    for group in (processes[:NODES], processes[NODES:]):
        for process in group:
            process.terminate()
        for process in group:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()

"""What is measured, and what is to come of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """What is measured, and how the load generator (load.c) is called for it.

    `script`: which of a server's scripts its clients follow. `value`: which result counts, more of
    it being better unless `less_is_better`.
    """

    name: str
    script: str
    mode: str
    connections: int
    in_flight: int = 1
    rate: float = 0
    value: str = "deliveries"
    less_is_better: bool = False


MANY = Workload("deliveries/s, 1,000 members, 4 in flight", "room", "fanout", 1000, 4)
BURSTS = Workload("deliveries/s, 100 members, 16 in flight", "room", "fanout", 100, 16)
DELAY = Workload(
    *("p99 ms, 1,000 members, 10 publications/s", "room", "rate", 1000, 1, 10, "p99_ms", True)
)
PING = Workload("round trips/s, 50 connections", "ping", "echo", 50, value="rounds")
DURABLE = Workload("durable acks/s, 100 connections", "store", "echo", 100, value="rounds")
HANDSHAKES = Workload("handshakes/s, 32 at once", "connect", "connect", 32, 32, value="handshakes")
# `in_flight`: so many connections are there before the memory is looked at for the first time.
IDLE = Workload(
    *("idle KiB a connection, 500 to 2,500", "idle", "idle", 2500, 500, 0, "kib", True),
)
WORKLOADS = [MANY, BURSTS, DELAY, PING, DURABLE, HANDSHAKES, IDLE]

OVARA = "Ovara, recommended"
OVARA_DAPHNE = "Ovara, Daphne"
OVARA_UVICORN = "Ovara, uvicorn"
TUTORIAL = "Channels tutorial, Daphne"
FASTAPI = "FastAPI manager, uvicorn"
WS = "node ws"
SOCKET_IO = "Socket.IO, node"
UWEBSOCKETS = "uWebSockets.js"


@dataclass(frozen=True)
class Target:
    """`ours` is to be `factor` times `theirs`: at least, or at most where less is better."""

    work: Workload
    ours: str
    theirs: str
    factor: float


TARGETS = [
    Target(MANY, OVARA_DAPHNE, TUTORIAL, 8),
    Target(MANY, OVARA, TUTORIAL, 60),
    Target(MANY, OVARA, WS, 1.2),
    Target(MANY, OVARA, UWEBSOCKETS, 0.5),
    Target(BURSTS, OVARA, WS, 1.5),
    Target(DELAY, OVARA, WS, 1),
    Target(PING, OVARA, SOCKET_IO, 1.2),
    Target(DURABLE, OVARA, TUTORIAL, 15),
    Target(IDLE, OVARA, TUTORIAL, 0.5),
    Target(HANDSHAKES, OVARA, TUTORIAL, 4),
    Target(HANDSHAKES, OVARA, SOCKET_IO, 1),
]
# Who is in no target is for orientation, and left out of the short mode.
IN_TARGETS = {name for target in TARGETS for name in (target.ours, target.theirs)}

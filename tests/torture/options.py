"""What a run may be told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    # Importing it needs Django's settings, which a run makes from its options.
    from tests.support.server import ServerKind

# A kill with less to lose proves nothing: it waits for so many since the one before.
MIN_ACKS_PER_KILL = 40

# What a kill names instead of a node.
REDIS = -1

# No limit that many clients of one address meet, and short times, so that a run is short.
SERVER_SETTINGS = {
    "OVARA_HANDSHAKES_PER_SECOND": "100000",
    "OVARA_HANDSHAKE_BURST": "100000",
    "OVARA_FRAMES_PER_SECOND": "100000",
    "OVARA_FRAME_BURST": "100000",
    "OVARA_MAX_CONNECTIONS_PER_ADDRESS": "100000",
    "OVARA_MAX_CONNECTIONS_PER_USER": "1000",
    "OVARA_MAX_CONNECTIONS_PER_CLIENT": "1000",
    "OVARA_ACCESS_TOKEN_LIFETIME_SECONDS": "86400",
    "OVARA_NODE_HEARTBEAT_SECONDS": "0.5",
    "OVARA_NODE_LAPSE_SECONDS": "3",
    "OVARA_CLEANUP_INTERVAL_SECONDS": "1",
    "OVARA_PRESENCE_GRACE_SECONDS": "1",
    "LOG_LEVEL": "WARNING",
}


@dataclass(frozen=True, slots=True)
class Options:
    """One run. The same seed gives the same kills, and clients that decide alike."""

    seed: int
    kills: int = 50
    kind: ServerKind = "daphne"
    nodes: int = 1
    clients: int = 12
    conversations: int = 6
    # The kind of database that the run makes for itself.
    store: str = "sqlite"
    # One that is there already, instead.
    database_url: str = ""
    # Several nodes reach each other's clients by it. Empty: a Redis of the run's own, killed too.
    redis_url: str = ""
    # A server is killed within this after it was ready, or as soon as there is enough to lose.
    max_life_seconds: float = 2.5

    @property
    def is_strict(self) -> bool:
        """On one node live messages come without a gap; a bus between nodes may lose some. And what
        a killed server had asked of a database server may be done after the next one has begun."""
        return self.nodes == 1 and self.store == "sqlite" and not self.database_url

    @property
    def has_own_redis(self) -> bool:
        return self.nodes > 1 and not self.redis_url

    def schedule(self) -> Iterator[Kill]:
        """The kills of this seed."""
        rng = random.Random(f"kills {self.seed}")
        for number in range(self.kills):
            node = rng.randrange(self.nodes)
            if self.has_own_redis and number % (self.nodes + 1) == 1:
                node = REDIS
            yield Kill(node, rng.uniform(0.2, self.max_life_seconds), rng.random() < 0.2)


class Kill(NamedTuple):
    """Kill a node so long after the last one was ready; `twice`: once more as long after that.

    `node` may be `REDIS`, which then stays away for a while."""

    node: int
    after_seconds: float
    twice: bool

"""What Prometheus reads from `/metrics`: the counts of this process, named for good.

Gauges that follow a live number are set by whoever owns it; label values come from closed sets
(frame types, codes, queue names), never from a client.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

# From under a commit on a fast disk to a queue that is about to overflow.
_LATENCY_BUCKETS_SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
)


class FrameCounter(Collector):
    """A counter by type of frame that only the event loop's thread counts in: `counts[type] += 1`.

    `prometheus_client`'s own takes a lock each time; with it to count a frame took about as long as
    to decode one.
    """

    labels = ("type",)

    def __init__(self, name: str, documentation: str) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._name = name
        self._documentation = documentation
        REGISTRY.register(self)

    def describe(self) -> Iterable[Metric]:
        return [CounterMetricFamily(self._name, self._documentation, labels=self.labels)]

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self.labels)
        for frame_type, count in self.counts.copy().items():
            family.add_metric([frame_type], count)
        return [family]


CONNECTIONS = Gauge("ovara_connections", "Open connections of this process.")
AUTHENTICATED = Gauge("ovara_authenticated_connections", "Open connections with a valid token.")
JOINS = Counter("ovara_joins", "Conversations joined by connections.")

FRAMES_RECEIVED = FrameCounter("ovara_frames_received", "Frames from clients.")
FRAMES_SENT = FrameCounter("ovara_frames_sent", "Frames to clients.")
ERRORS = Counter("ovara_errors", "Error frames to clients.", ["code"])
CLOSES = Counter("ovara_closes", "Closed connections.", ["code"])
REFUSED_HANDSHAKES = Counter(
    "ovara_refused_handshakes", "Connections refused before their first frame.", ["code"]
)
RECOVERIES = Counter(
    "ovara_recoveries", "Joins with `since`, by outcome: recovered, partial or anew.", ["outcome"]
)
DROPS = Counter("ovara_drops", "Publications that were not delivered.", ["reason"])

ACK_SECONDS = Histogram(
    "ovara_ack_seconds",
    "From a message's arrival to its acknowledgement.",
    buckets=_LATENCY_BUCKETS_SECONDS,
)
FANOUT_SECONDS = Histogram(
    "ovara_fanout_seconds",
    "From a message's commit to the last local connection's outbox.",
    buckets=_LATENCY_BUCKETS_SECONDS,
)
CHANNEL_LAYER_UP = Gauge(
    "ovara_channel_layer_up",
    "Whether what this process publishes comes back to it (1) or not (0), by the layer's server.",
    ["shard"],
)
RESYNCS = Counter("ovara_resyncs", "Times that connections were told to look for gaps.")
QUEUE_DEPTH = Gauge(
    "ovara_queue_depth", "Items that wait, by queue: journal, notes, registry or bus.", ["queue"]
)
OUTBOX_BYTES = Gauge("ovara_outbox_bytes", "Bytes that wait for slow connections.")

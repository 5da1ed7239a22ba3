"""What Prometheus reads from `/metrics`: the counts of this process, named for good.

Gauges that follow a live number are set by whoever owns it; label values come from closed sets
(frame types, codes, queue names), never from a client.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
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


class Latency(Collector):
    """A histogram of seconds that only the event loop's thread observes in: without a lock, like
    `FrameCounter`."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        # The last is for what took longer than every bucket.
        self._counts = [0] * (len(_LATENCY_BUCKETS_SECONDS) + 1)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_LATENCY_BUCKETS_SECONDS, seconds)] += 1
        self._sum += seconds

    def describe(self) -> Iterable[Metric]:
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[Metric]:
        bounds = [*map(str, _LATENCY_BUCKETS_SECONDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts.copy()), strict=True))
        return [HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)]


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

ACK_SECONDS = Latency(
    "ovara_ack_seconds",
    "From a message's arrival to its acknowledgement.",
)
FANOUT_SECONDS = Latency(
    "ovara_fanout_seconds",
    "From a message's publication here to the outbox of the last local connection.",
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

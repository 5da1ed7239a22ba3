"""What Prometheus reads says what happened: one story, and every number that it moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from prometheus_client import REGISTRY, Histogram
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from connections import metrics
from tests.connecting.conftest import Connect, MakeConversation, ServerWith
from tests.support.server import ServerProcess

TOKEN = "the token of the one who measures"


class Numbers:
    """The samples of one moment: `numbers["ovara_errors_total", "not_found"]`, 0 where unsaid."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __getitem__(self, key: str | tuple[str, ...]) -> float:
        return self._samples.get((key,) if isinstance(key, str) else key, 0.0)


async def numbers_of(server: ServerProcess) -> Numbers:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
        answer = await http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    return Numbers(answer.text)


async def numbers_when(server: ServerProcess, is_so: Callable[[Numbers], bool]) -> Numbers:
    """The numbers once they are so: what closes a socket is counted when the server has seen it."""
    deadline = time.monotonic() + 5
    while not is_so(numbers := await numbers_of(server)):
        assert time.monotonic() < deadline, "not so in 5 s"
        await asyncio.sleep(0.02)
    return numbers


@pytest.fixture
def measured(server_with: ServerWith) -> ServerProcess:
    return server_with(OVARA_METRICS_TOKEN=TOKEN)


async def test_the_metrics_count_what_connections_do(
    measured: ServerProcess, make_conversation: MakeConversation, connect: Connect
) -> None:
    alice, bob = measured.make_user(), measured.make_user()
    talk = await make_conversation(measured, alice, bob)
    writer, reader = await connect(measured, alice), await connect(measured, bob)
    await connect(measured)  # nobody yet
    await writer.join(talk)
    joined = await reader.join(talk)
    for number in range(4):
        await writer.message(talk, f"number {number}")
        await reader.expect("message")
    refusal = await reader.request({"type": "history", "conversation_id": alice.id})
    assert (refusal["type"], refusal["code"]) == ("error", "not_found")
    numbers = await numbers_of(measured)
    assert numbers["ovara_connections"] == 3
    assert numbers["ovara_authenticated_connections"] == 2
    assert numbers["ovara_joins_total"] == 2
    assert numbers["ovara_frames_received_total", "message"] == 4
    assert numbers["ovara_frames_received_total", "join"] == 2
    # Its own sender hears of a message by the ack.
    assert numbers["ovara_frames_sent_total", "message"] == 4
    assert numbers["ovara_frames_sent_total", "welcome"] == 3
    assert numbers["ovara_errors_total", "not_found"] == 1
    assert numbers["ovara_ack_seconds_count"] == 4
    assert 0 < numbers["ovara_ack_seconds_sum"] < 20
    assert numbers["ovara_ack_seconds_bucket", "5.0"] == 4
    assert numbers["ovara_fanout_seconds_count"] == 4
    assert numbers["ovara_queue_depth", "journal"] == 0

    for since, epoch in ((3, joined["epoch"]), (0, joined["epoch"]), (3, alice.id)):
        back = await connect(measured, bob)
        await back.join(talk, since=since, epoch=epoch)
    await connect(measured, token="not a token")
    await writer.close()
    numbers = await numbers_when(measured, lambda it: it["ovara_closes_total", "1000"] == 1)
    assert numbers["ovara_recoveries_total", "recovered"] == 2
    assert numbers["ovara_recoveries_total", "anew"] == 1
    assert numbers["ovara_refused_handshakes_total", "4401"] == 1
    assert numbers["ovara_connections"] == 5


def test_latencies_are_told_as_the_client_library_tells_its_histograms() -> None:
    ours = metrics.Latency("test_ours_seconds", "A test.")
    REGISTRY.unregister(ours)
    bounds = [sample.labels["le"] for sample in _samples(ours) if "le" in sample.labels]
    theirs = Histogram(
        "test_ours_seconds", "A test.", buckets=[float(one) for one in bounds], registry=None
    )
    for seconds in (0.0, 0.0005, 0.0006, 0.3, 5.0, 5.1, 60.0):
        ours.observe(seconds)
        theirs.observe(seconds)
    assert len(bounds) > 10
    assert _samples(ours) == [one for one in _samples(theirs) if not one.name.endswith("_created")]


def _samples(collector: Collector) -> list[Sample]:
    return [sample for family in collector.collect() for sample in family.samples]

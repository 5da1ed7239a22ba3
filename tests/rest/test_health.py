"""Health, metrics and the schema's page."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from channels.layers import channel_layers
from django.db import connections
from prometheus_client.parser import text_string_to_metric_families

from connections import metrics
from connections.manager import websocket_manager
from ovara import database

TOKEN = "a token for the scraper"


@pytest.fixture
def metrics_token(settings):
    settings.OVARA = dataclasses.replace(settings.OVARA, metrics_token=TOKEN)


def test_a_process_that_answers_is_healthy(nobody):
    answer = nobody.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


class TestReadiness:
    def test_it_is_ready_when_database_and_layer_answer(self, nobody, db):
        answer = nobody.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    @pytest.fixture
    def broken_database(self, db, tmp_path, monkeypatch):
        # A file of another kind, in the place of the database; and readers that have nothing open.
        readers = ThreadPoolExecutor(1)
        monkeypatch.setattr(database, "_readers", readers)
        path = tmp_path / "broken.sqlite3"
        path.write_bytes(b"not a database" * 100)
        databases = connections.databases["default"]
        name = databases["NAME"]
        databases["NAME"] = str(path)
        yield
        databases["NAME"] = name
        readers.submit(connections.close_all).result()
        readers.shutdown()

    @pytest.fixture
    def broken_layer(self, settings):
        # A port where nothing listens.
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
            }
        }
        before = channel_layers.backends
        channel_layers.backends = {}
        yield
        channel_layers.backends = before

    @pytest.mark.stores("sqlite")
    def test_a_database_that_does_not_answer_is_named(self, nobody, broken_database):
        answer = nobody.get("/readyz")
        assert (answer.status_code, answer.json()["failed"]) == (503, ["database"])
        assert "sqlite" not in answer.content.decode()

    @pytest.mark.stores("sqlite")
    def test_both_are_named(self, nobody, broken_database, broken_layer):
        answer = nobody.get("/readyz")
        assert answer.json()["detail"] == "Not ready: database and channel layer."
        assert answer.json()["failed"] == ["database", "channel layer"]

    def test_a_layer_whose_probes_do_not_come_back_is_named(self, nobody, db, monkeypatch):
        # Publishing to it succeeds.
        node = websocket_manager.node
        monkeypatch.setattr(type(node), "running", True)
        monkeypatch.setattr(node, "bus", SimpleNamespace(is_up=False), raising=False)
        answer = nobody.get("/readyz")
        assert (answer.status_code, answer.json()["failed"]) == (503, ["channel layer"])

    def test_a_layer_that_does_not_answer_is_named(self, nobody, db, broken_layer):
        answer = nobody.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "detail": "Not ready: channel layer.",
            "code": "unavailable",
            "failed": ["channel layer"],
        }


class TestMetrics:
    def test_staff_read_them(self, call_as, staff):
        metrics.JOINS.inc()
        answer = call_as(staff).get("/metrics")
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")
        names = {family.name for family in text_string_to_metric_families(answer.content.decode())}
        assert {name for name in names if re.match("ovara_(?!.*_created)", name)} == {
            "ovara_connections",
            "ovara_authenticated_connections",
            "ovara_joins",
            "ovara_frames_received",
            "ovara_frames_sent",
            "ovara_errors",
            "ovara_closes",
            "ovara_refused_handshakes",
            "ovara_recoveries",
            "ovara_drops",
            "ovara_channel_layer_up",
            "ovara_resyncs",
            "ovara_ack_seconds",
            "ovara_fanout_seconds",
            "ovara_queue_depth",
            "ovara_outbox_bytes",
        }

    def test_the_token_reads_them_without_a_user(self, nobody, metrics_token):
        answer = nobody.get("/metrics", HTTP_AUTHORIZATION=f"Bearer {TOKEN}")
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "header", [f"Bearer {TOKEN}x", "Bearer ", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer é"]
    )
    def test_another_token_does_not(self, nobody, db, metrics_token, header):
        assert nobody.get("/metrics", HTTP_AUTHORIZATION=header).status_code == 401

    def test_an_empty_token_is_no_token(self, nobody, db):
        for header in ("Bearer ", "Bearer"):
            assert nobody.get("/metrics", HTTP_AUTHORIZATION=header).status_code == 401

    def test_the_token_is_good_for_nothing_else(self, nobody, db, metrics_token):
        for path in ("/api/connections/stats", "/api/conversations"):
            answer = nobody.get(path, HTTP_AUTHORIZATION=f"Bearer {TOKEN}")
            assert answer.status_code == 401


class TestSchemaPage:
    def test_the_schema_is_json_or_yaml(self, nobody):
        answer = nobody.get("/api/schema")
        assert answer["Content-Type"] == "application/json"
        assert answer.json()["openapi"].startswith("3.1")
        yaml = nobody.get("/api/schema", HTTP_ACCEPT="application/yaml")
        assert yaml.content.startswith(b"openapi: 3.1")

    def test_the_page_and_its_assets_come_from_here(self, client, db):
        page = client.get("/api/docs")
        assert page.status_code == 200
        policy = page["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        html = page.content.decode()
        assert not re.search(r"<script>", html), "an inline script would be blocked"
        addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert len(addresses) >= 4
        for address in addresses:
            assert address.startswith("/"), address
            with contextlib.closing(client.get(address.replace("&amp;", "&"))) as asset:
                assert asset.status_code == 200, address
                assert asset.getvalue()

    def test_the_page_works_in_a_browser_with_a_bad_token(self, nobody):
        answer = nobody.get("/api/docs", HTTP_AUTHORIZATION="Bearer nonsense")
        assert answer.status_code == 200

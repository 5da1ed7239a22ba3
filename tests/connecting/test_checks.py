"""A wrong set-up is named by a system check, with the sentence that mends it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from channels.layers import channel_layers
from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings

from connections.models import Node
from connections.registry.liveness import own_nodes
from tests.connecting.conftest import ServerWith
from tests.support.server import ServerProcess

IN_MEMORY = "channels.layers.InMemoryChannelLayer"
DAPHNE = "ovara.apps.DaphneConfig"
PUB_SUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


def found(*, deploy: bool = False, database: bool = False) -> dict[str, str]:
    """The checks of ours that have something to say: id → what, and how to mend it."""
    channel_layers.backends = {}
    messages = run_checks(
        include_deployment_checks=deploy, databases=["default"] if database else None
    )
    channel_layers.backends = {}
    ours = [one for one in messages if str(one.id).startswith("connections.")]
    assert all(one.hint for one in ours)
    return {str(one.id): f"{one.msg} {one.hint}" for one in ours}


def without(name: str) -> list[str]:
    return [app for app in settings.INSTALLED_APPS if app != name]


def layer(backend: str, **config: Any) -> dict[str, Any]:
    return {"default": {"BACKEND": backend, "CONFIG": config}}


def ovara(**changes: Any) -> Any:
    return dataclasses.replace(settings.OVARA, **changes)


@pytest.mark.django_db
def test_the_projects_own_settings_have_nothing_wrong() -> None:
    assert found(deploy=True, database=True) == {}


@pytest.mark.parametrize(
    ("wrong", "check", "says"),
    [
        ({"ASGI_APPLICATION": None}, "E001", 'ASGI_APPLICATION = "ovara.asgi.application"'),
        ({"INSTALLED_APPS": [*without(DAPHNE), DAPHNE]}, "E002", f'Put "daphne" or "{DAPHNE}"'),
        ({"INSTALLED_APPS": without(DAPHNE)}, "E002", f'Put "daphne" or "{DAPHNE}"'),
        ({"CHANNEL_LAYERS": {}}, "E003", "REDIS_URL"),
        ({"CHANNEL_LAYERS": layer("no.such.Layer")}, "E003", "no.such"),
        ({"OVARA": None}, "E004", "OvaraSettings.from_environment"),
        ({"SIMPLE_JWT": {"SIGNING_KEY": "k" * 40}}, "E005", "ovara.accounts.tokens.AccessToken"),
        pytest.param(
            {"CHANNEL_LAYERS": layer(PUB_SUB, hosts=["redis://x"])},
            "W002",
            "postgres://",
            marks=pytest.mark.stores("sqlite"),  # the others are for several processes
        ),
        ({"CHANNEL_LAYERS": layer(IN_MEMORY)}, "W003", "keeps 100 messages"),
        ({"SIMPLE_JWT": settings.SIMPLE_JWT | {"SIGNING_KEY": "k" * 31}}, "W005", "SIGNING_KEY"),
        ({"OVARA": ovara(node_heartbeat_seconds=6.0)}, "W006", "OVARA_NODE_LAPSE_SECONDS (10)"),
    ],
)
def test_each_wrong_setting_has_its_check(wrong: dict[str, Any], check: str, says: str) -> None:
    with override_settings(**wrong):
        messages = found()
    assert messages.keys() == {f"connections.{check}"}
    assert says in messages[f"connections.{check}"]


def test_what_is_for_development_alone_is_named_for_a_deployment() -> None:
    with override_settings(OVARA=ovara(allow_query_token=True)):
        assert found() == {}
        assert "OVARA_ALLOW_QUERY_TOKEN" in found(deploy=True)["connections.W004"]


@pytest.mark.django_db
def test_two_servers_that_cannot_reach_each_other_are_named() -> None:
    Node.objects.create(hostname="one", pid=1)
    assert found(database=True) == {}, "a command beside the only server"
    Node.objects.create(hostname="two", pid=1)
    message = found(database=True)["connections.W001"]
    assert message.startswith("2 servers run on this database")
    assert "REDIS_URL" in message
    assert found() == {}, "it is asked for only where the database may be"
    with override_settings(CHANNEL_LAYERS=layer(PUB_SUB, hosts=["redis://x"])):
        assert "connections.W001" not in found(database=True)
    assert not own_nodes


@pytest.mark.django_db
def test_a_check_before_the_first_migrate_has_nothing_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Node._meta, "db_table", "not_there_yet")
    assert found(database=True) == {}


async def test_a_server_that_starts_beside_another_says_that_they_cannot_reach_each_other(
    server_with: ServerWith,
) -> None:
    first = server_with()
    assert "nodes_apart" not in first.logs()
    second: ServerProcess = server_with(database=first.database)
    line = await second.wait_for_log("WARNING connections nodes_apart")
    assert "REDIS_URL" in line.string
    done = second.manage("check", "--database", "default")
    assert done.returncode == 0
    assert "connections.W001" in done.stderr

"""compose.yaml against the files it is made of. Nothing here runs containers: see the docs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ovara.conf import OvaraSettings
from tests.conftest import program
from tests.support.environment import ROOT, is_ours

pytestmark = pytest.mark.storeless

CONFIGURATION = ROOT / "deploy" / "haproxy.cfg"
# Of the official images.
IMAGE_VARIABLES = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_every_part_waits_for_parts_that_are_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", "redis", "migrate", "node1", "node2", "node3", "balancer"}
    for name, service in services.items():
        needs = service.get("depends_on", {})
        assert set(needs) <= set(services) - {name}
        for other, how in needs.items() if isinstance(needs, dict) else ():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
            else:
                # It has to end by itself.
                assert services[other]["restart"] == "no"
    volumes = {one.split(":")[0] for s in services.values() for one in s.get("volumes", ())}
    assert volumes == {*compose["volumes"], "./deploy/haproxy.cfg"}


def test_the_nodes_are_joined_by_the_database_and_redis_beside_them(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    database = services["postgres"]["environment"]
    for name in ("migrate", "node1", "node2", "node3"):
        service = services[name]
        settings = service["environment"]
        assert settings["DATABASE_URL"] == "postgres://{}:{}@postgres:5432/{}".format(
            database["POSTGRES_USER"], database["POSTGRES_PASSWORD"], database["POSTGRES_DB"]
        )
        assert settings["REDIS_URL"] == "redis://redis:6379/0"
        assert all(is_ours(variable) for variable in settings)
        assert (ROOT / service["build"]["dockerfile"]).is_file()
    for service in services.values():
        known = {f"OVARA_{name.upper()}" for name in OvaraSettings.__dataclass_fields__}
        known |= IMAGE_VARIABLES | set(re.findall(r"\$\{(\w+)\}", CONFIGURATION.read_text()))
        assert all(one in known or is_ours(one) for one in service.get("environment", {}))


def test_the_load_balancer_gets_what_its_configuration_asks_for(compose: dict[str, Any]) -> None:
    balancer = compose["services"]["balancer"]
    asked = set(re.findall(r'"\$\{(\w+)\}"', CONFIGURATION.read_text()))
    assert set(balancer["environment"]) == asked
    nodes = [balancer["environment"][f"OVARA_NODE_{number}"] for number in (1, 2, 3)]
    assert nodes == [f"node{number}:8000" for number in (1, 2, 3)]
    # Names of containers are not known here, and haproxy looks them up.
    addresses = {f"OVARA_NODE_{number}": f"127.0.0.1:800{number}" for number in (1, 2, 3)}
    checked = subprocess.run(
        [program("haproxy"), "-c", "-f", str(CONFIGURATION)],
        env=os.environ | balancer["environment"] | addresses,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    # All that arrives here goes to the port that the load balancer listens on.
    (published,) = balancer["ports"]
    assert published.endswith(":" + balancer["environment"]["OVARA_LISTEN"].rpartition(":")[2])


def test_a_node_has_time_to_drain_and_serves_where_the_load_balancer_looks(
    compose: dict[str, Any],
) -> None:
    for name in ("node1", "node2", "node3"):
        assert compose["services"][name]["stop_grace_period"] == "30s"
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    # As an array: a shell in between would swallow SIGTERM.
    command = yaml.safe_load(next(line for line in lines if line.startswith("CMD"))[3:])
    assert isinstance(command, list)
    assert command[command.index("-p") + 1] == "8000"
    assert "--websocket_timeout" in command
    for line in lines:
        if line.startswith("COPY") and not line.startswith("COPY . "):
            *sources, _ = shlex.split(line)[1:]
            assert all((ROOT / source).exists() for source in sources)
    ignored = Path(ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split()
    assert {".git", ".venv", "var"} <= set(ignored)

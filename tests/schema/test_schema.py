"""The OpenAPI schema is valid, and the running server does what it says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from django.core.management import call_command

from tests.support.rest import BearerToken

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_the_schema_is_valid_and_nothing_in_it_is_guessed():
    schema = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=schema)
    assert schema.getvalue().startswith("openapi: 3.1")


@pytest.fixture(scope="module")
def own_server(start_server):
    """Not the shared one: as staff, requests end connections. Signing in is tried many times."""
    return start_server(OVARA_LOGINS_PER_MINUTE="100000")


# What a user's own requests ask of a store is in tests/rest.
@pytest.mark.parametrize(
    "is_staff",
    [pytest.param(True, id="staff"), pytest.param(False, id="user", marks=pytest.mark.storeless)],
)
def test_the_server_does_what_the_schema_says(own_server, is_staff, tmp_path):
    account = own_server.make_user(is_staff=is_staff)
    with httpx.Client(base_url=own_server.url, auth=BearerToken(account), timeout=30) as rest:
        for _ in range(3):
            started = rest.post("/api/conversations", json={"title": "Talk"})
            assert started.status_code == 201

    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
            *(f"{own_server.url}/api/schema", "--url", own_server.url),
            *("--header", f"Authorization: Bearer {account.token()}"),
            *("--checks", "all", "--generation-database", "none", "--no-color"),
        ],
        cwd=tmp_path,
        env=os.environ | {"NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
    assert "22 selected / 22 total" in run.stdout, run.stdout[-20_000:]

"""The table of settings: as documented, validated, and every one enforced by a server.

Elsewhere: timeouts and cleanup in test_deadlines, what goes into `welcome` and the limits of frames
in test_welcome, connections and handshakes in test_limits, origins and the query token in
test_origins and test_token_transports, nodes and the presence grace in test_nodes, the outbox in
test_slow_consumers, the end of sessions in test_clients_and_sessions. Here: the rest.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured

from connections.models import Connection
from ovara.conf import OvaraSettings
from tests.connecting.conftest import (
    Connect,
    ServerWith,
    closed_row,
    refused,
    until,
)
from tests.support.database import Account
from tests.support.environment import ROOT
from tests.support.server import HOST, ServerProcess

SIGNING_KEY = "another key for tests alone, to sign tokens with"
METRICS_TOKEN = "a secret of the one who measures"
LOGINS = 2
Answers = list[httpx.Response]
SMALL = {
    "OVARA_MAX_CONVERSATIONS_PER_CONNECTION": "2",
    "OVARA_LOGINS_PER_MINUTE": str(LOGINS),
    "OVARA_ACCESS_TOKEN_LIFETIME_SECONDS": "3",
    "OVARA_REFRESH_TOKEN_LIFETIME_DAYS": "0.5",
    "OVARA_JWT_SIGNING_KEY": SIGNING_KEY,
    "OVARA_METRICS_TOKEN": METRICS_TOKEN,
    "OVARA_CONNECTION_RETENTION_DAYS": str(0.5 / 86_400),
    "OVARA_CLEANUP_INTERVAL_SECONDS": "0.2",
}


@pytest.fixture
def small_server(shared_server_with: ServerWith) -> ServerProcess:
    return shared_server_with(**SMALL)


def rows_of_the_page() -> dict[str, str]:
    """The settings of the protocol's page: name → default, as written."""
    page = (ROOT / "docs/protocol.md").read_text()
    section = page.partition("\n## Settings\n")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`.*?`) \| ([^|]*) \|", section, re.MULTILINE):
        words = re.findall(r"`([^`]+)`", names)
        full = [word.replace("…", "MAX_CONNECTIONS") for word in words]
        found |= dict(zip(full, defaults.split(", "), strict=True))
    return found


@pytest.mark.storeless
def test_names_and_defaults_are_those_of_the_protocols_page() -> None:
    written = {False: "off", (): "empty", "": "empty"}

    def words(name: str, default: Any) -> str:
        if name == "jwt_signing_key":
            return "`SECRET_KEY`"
        if name == "cleanup_inactive_minutes":
            return "0 (off)"
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        return f"{default:g}" if is_number and default < 1e5 else str(written.get(default, default))

    ours = {spec.name.upper(): words(spec.name, spec.default) for spec in SPECS}
    assert ours == rows_of_the_page()


SPECS = dataclasses.fields(OvaraSettings)
NUMBERS = [spec.name for spec in SPECS if type(spec.default) in {int, float}]
WHOLE = [spec.name for spec in SPECS if type(spec.default) is int]


def refusal(**environment: str) -> str:
    """Why these variables are refused."""
    with pytest.raises(ImproperlyConfigured) as caught:
        OvaraSettings.from_environment(environment)
    return str(caught.value)


@pytest.mark.storeless
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["", "many", "-1", "nan", "inf", "1,5", "1e999"])
def test_a_number_that_is_none_is_refused_by_name(name: str, value: str) -> None:
    variable = f"OVARA_{name.upper()}"
    assert variable in refusal(**{variable: value})


@pytest.mark.storeless
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_number_has_no_decimals_and_is_at_least_one(name: str) -> None:
    variable = f"OVARA_{name.upper()}"
    for value in ("1.5", "0"):
        assert variable in refusal(**{variable: value})


@pytest.mark.storeless
@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"OVARA_ALLOW_QUERY_TOKEN": "perhaps"}, ["OVARA_ALLOW_QUERY_TOKEN", "on or off"]),
        ({"OVARA_ALLOWED_ORIGINS": "chat.example.com"}, ["OVARA_ALLOWED_ORIGINS", "https://"]),
        ({"OVARA_IDLE_TIMEOUT": "5"}, ["OVARA_IDLE_TIMEOUT", "OVARA_IDLE_TIMEOUT_SECONDS"]),
        ({"OVARA_NONSENSE": ""}, ["OVARA_NONSENSE"]),
        ({"OVARA_idle_timeout_seconds": "5"}, ["OVARA_idle_timeout_seconds"]),
        (
            {"OVARA_IDLE_TIMEOUT_SECONDS": "20"},
            ["OVARA_HEARTBEAT_INTERVAL_SECONDS (25)", "OVARA_IDLE_TIMEOUT_SECONDS (20)"],
        ),
        (
            {"OVARA_NODE_HEARTBEAT_SECONDS": "10"},
            ["OVARA_NODE_HEARTBEAT_SECONDS", "OVARA_NODE_LAPSE_SECONDS"],
        ),
        (
            {"OVARA_RECONNECT_MIN_DELAY_SECONDS": "30"},
            ["OVARA_RECONNECT_MIN_DELAY_SECONDS", "OVARA_RECONNECT_MAX_DELAY_SECONDS"],
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_says_what_would(
    environment: dict[str, str], names: list[str]
) -> None:
    message = refusal(**environment)
    assert all(name in message for name in names), message


@pytest.mark.storeless
@pytest.mark.parametrize("name", ["OVARA_JWT_SIGNING_KEY", "OVARA_METRICS_TOKEN"])
def test_a_secret_is_never_repeated(name: str) -> None:
    secret = {name: "a secret that nobody may read"}
    settings = OvaraSettings.from_environment(secret)
    assert secret[name] not in repr(settings)
    assert secret[name] not in refusal(**secret, OVARA_FRAME_BURST="none")


@pytest.mark.storeless
def test_what_is_not_set_has_its_default() -> None:
    assert OvaraSettings.from_environment({"PATH": "/bin"}) == OvaraSettings()


async def sign_in(
    server: ServerProcess, account: Account, *, address: str = HOST, password: str = ""
) -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(base_url=server.url, transport=transport, timeout=30) as http:
        credentials = {"username": account.username, "password": password or account.password}
        return await http.post("/api/token/", json=credentials)


async def within_a_minute(attempt: Callable[[str], Awaitable[Answers]]) -> Answers:
    """What `attempt` got, given a network that nobody has signed in from: the limit counts for a
    minute of the clock, so it is made anew if another one has begun meanwhile."""
    while True:
        network = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}"
        minute = time.time() // 60
        answers = await attempt(network)
        if time.time() // 60 == minute:
            return answers


async def test_logins_are_limited_by_account(small_server: ServerProcess) -> None:
    async def attempt(network: str) -> Answers:
        alice = small_server.make_user()
        return [
            await sign_in(small_server, alice, address=f"{network}.{number}", password=password)
            for number, password in enumerate(["wrong"] * LOGINS + [alice.password], 1)
        ]

    answers = await within_a_minute(attempt)
    assert [answer.status_code for answer in answers] == [401] * LOGINS + [429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


async def test_logins_are_limited_by_address(small_server: ServerProcess) -> None:
    async def attempt(network: str) -> Answers:
        accounts = [small_server.make_user() for _ in range(LOGINS + 1)]
        return [await sign_in(small_server, one, address=f"{network}.1") for one in accounts]

    answers = await within_a_minute(attempt)
    assert [answer.status_code for answer in answers] == [200] * LOGINS + [429]


async def test_tokens_live_as_long_as_is_set_and_bear_the_key_that_is_set(
    small_server: ServerProcess, connect: Connect
) -> None:
    alice = small_server.make_user()
    pair = (await sign_in(small_server, alice, address="127.0.3.1")).json()
    access = jwt.decode(pair["access"], SIGNING_KEY, algorithms=["HS256"])
    refresh = jwt.decode(pair["refresh"], SIGNING_KEY, algorithms=["HS256"])
    assert access["exp"] - access["iat"] == 3
    assert refresh["exp"] - refresh["iat"] == 43_200
    client = await connect(small_server, token=pair["access"])
    end = await client.closed()
    assert end.code == 4401
    assert -0.1 < datetime.now(UTC).timestamp() - access["exp"] < 1
    # One that was made with SECRET_KEY is another's.
    assert (await refused(connect, small_server, alice)).code == 4401


async def test_a_connection_joins_so_many_conversations_and_no_more(
    small_server: ServerProcess, connect: Connect
) -> None:
    alice = small_server.make_user()
    token = (await sign_in(small_server, alice, address="127.0.3.2")).json()["access"]
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=small_server.url, headers=headers, timeout=30) as http:
        made = [await http.post("/api/conversations", json={"title": "x"}) for _ in range(3)]
    first, second, third = (answer.json()["id"] for answer in made)
    client = await connect(small_server, token=token)
    await client.join(first)
    await client.join(second)
    refusal = await client.request({"type": "join", "conversation_id": third})
    assert (refusal["type"], refusal["code"]) == ("error", "forbidden")
    await client.join(first)
    assert (await client.request({"type": "leave", "conversation_id": second}))["type"] == "ack"
    await client.join(third)


async def test_closed_connections_are_kept_for_the_retention_and_no_longer(
    small_server: ServerProcess, connect: Connect
) -> None:
    gone, here = await connect(small_server), await connect(small_server)
    await gone.close()

    def is_kept(client: Any) -> bool:
        rows = Connection.objects.filter(pk=client.connection_id)
        return small_server.database.run(lambda alias: rows.using(alias).exists())

    await closed_row(small_server, gone.connection_id)
    await until(lambda: not is_kept(gone))
    assert is_kept(here)


async def test_the_metrics_have_a_token_of_their_own(
    small_server: ServerProcess, rest: Callable[..., httpx.AsyncClient]
) -> None:
    http = rest(small_server)
    assert (await http.get("/metrics")).status_code == 401
    wrong = {"Authorization": f"Bearer {METRICS_TOKEN[:-1]}"}
    assert (await http.get("/metrics", headers=wrong)).status_code == 401
    right = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    answer = await http.get("/metrics", headers=right)
    assert answer.status_code == 200
    assert "ovara_connections" in answer.text


async def test_a_drain_sends_nobody_back_sooner_than_the_least_delay(
    server_with: ServerWith, connect: Connect
) -> None:
    server = server_with(
        OVARA_RECONNECT_MIN_DELAY_SECONDS="6", OVARA_RECONNECT_MAX_DELAY_SECONDS="9"
    )
    clients = [await connect(server) for _ in range(3)]
    await asyncio.to_thread(server.terminate)
    for client in clients:
        disconnect = (await client.closed()).disconnect
        assert disconnect is not None
        assert 6 <= disconnect["retry_after"] <= 9

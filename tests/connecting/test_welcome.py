"""The first frame of an accepted connection says all that a client has to know."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from ovara.accounts.tokens import AccessToken
from ovara.ids import is_id
from tests.connecting.conftest import Connect, ServerWith, row_of
from tests.support.server import ServerProcess

ODD_SETTINGS = {
    "OVARA_HEARTBEAT_INTERVAL_SECONDS": "7.5",
    "OVARA_IDLE_TIMEOUT_SECONDS": "33",
    "OVARA_RECONNECT_MIN_DELAY_SECONDS": "0.25",
    "OVARA_RECONNECT_MAX_DELAY_SECONDS": "4",
    "OVARA_MAX_FRAME_BYTES": "2048",
    "OVARA_FRAMES_PER_SECOND": "3",
    "OVARA_FRAME_BURST": "6",
}


async def test_welcome_says_who_and_where_the_connection_is(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    token = alice.token()
    client = await connect(any_server, token=token)
    welcome = client.welcome
    assert welcome == {
        "type": "welcome",
        "protocol": 1,
        "connection_id": welcome["connection_id"],
        "client_id": welcome["client_id"],
        "client_connections": 1,
        "node": welcome["node"],
        "authenticated": True,
        "user": alice.as_json,
        "session": {"id": welcome["session"]["id"], "resumed": False, "state": {}},
        "token_expires_at": welcome["token_expires_at"],
        "heartbeat_interval": 25,
        "idle_timeout": 75,
        "reconnect": {"min_delay": 0.5, "max_delay": 20, "factor": 2, "jitter": 0.5},
        "limits": {"max_frame_bytes": 524288, "frames_per_second": 20, "burst": 40},
    }
    ids = [welcome[name] for name in ("connection_id", "client_id", "node")]
    ids.append(welcome["session"]["id"])
    assert all(is_id(one) for one in ids), ids
    assert len(set(ids)) == 4
    end = datetime.fromtimestamp(AccessToken(token)["exp"], UTC)
    assert welcome["token_expires_at"] == end.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    row = row_of(any_server, client.connection_id)
    assert str(row.node_id) == welcome["node"]


async def test_welcome_without_a_token_knows_nobody(
    any_server: ServerProcess, connect: Connect
) -> None:
    welcome = (await connect(any_server)).welcome
    assert welcome["authenticated"] is False
    for name in ("client_id", "session", "user", "token_expires_at"):
        assert welcome[name] is None, name
    assert is_id(welcome["connection_id"])
    assert welcome["protocol"] == 1
    assert welcome["limits"]["max_frame_bytes"] == 524288


async def test_welcome_says_what_the_settings_say(
    shared_server_with: ServerWith, connect: Connect
) -> None:
    server = shared_server_with(**ODD_SETTINGS)
    welcome = (await connect(server)).welcome
    assert welcome["heartbeat_interval"] == 7.5
    assert welcome["idle_timeout"] == 33
    assert welcome["reconnect"] == {"min_delay": 0.25, "max_delay": 4, "factor": 2, "jitter": 0.5}
    assert welcome["limits"] == {"max_frame_bytes": 2048, "frames_per_second": 3, "burst": 6}


async def test_the_limits_in_welcome_are_those_that_hold(
    shared_server_with: ServerWith, connect: Connect
) -> None:
    server = shared_server_with(**ODD_SETTINGS)
    client = await connect(server, server.make_user())
    answers = [await client.request({"type": "ping"}) for _ in range(10)]
    assert [answer["type"] for answer in answers[:6]] == ["pong"] * 6
    first_refusal = next(answer for answer in answers if answer["type"] == "error")
    assert first_refusal["code"] == "rate_limited"
    assert 0 < first_refusal["retry_after"] <= 1 / 3

    largest, larger = [await connect(server, server.make_user()) for _ in range(2)]
    await largest.send_raw(padded(2048))
    assert (await largest.expect("pong"))["id"] == "p"
    await larger.send_raw(padded(2049))
    assert (await larger.closed()).code == 4511


async def test_each_connection_has_an_id_of_its_own_and_all_have_one_node(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    clients = [await connect(any_server, alice) for _ in range(4)]
    assert len({client.connection_id for client in clients}) == 4
    assert len({client.welcome["node"] for client in clients}) == 1


def padded(size: int) -> str:
    """A ping of exactly so many bytes; the pad has characters of more than one byte."""
    frame = {"type": "ping", "id": "p", "pad": "ü"}
    short = size - len(json.dumps(frame, ensure_ascii=False).encode())
    frame["pad"] += "x" * short
    text = json.dumps(frame, ensure_ascii=False)
    assert len(text.encode()) == size
    return text

"""Every close code: one table for server, browser and page; and what brings each about.

Elsewhere: 4401 in test_authenticate and test_revocation, 4408 in test_deadlines, 4412 in
test_drain, 4413 in test_limits and test_slow_consumers, 4503 and the 4500 of a malformed id in
test_clients_and_sessions, 4509 in test_limits.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from connections.close_codes import CloseCode, close_label, should_reconnect
from connections.strikes import MAX_INVALID_IN_A_ROW, MAX_RATE_LIMITED
from tests.connecting.conftest import Connect, closed_row
from tests.support.client import WireClient
from tests.support.environment import ROOT
from tests.support.server import ServerProcess

PAGE = ROOT / "docs/protocol.md"
SCRIPT = ROOT / "frontend/static/frontend/ovara/close_codes.js"


def table_of_the_page() -> dict[int, str]:
    """The codes of the protocol's page, with what stands under `reconnect?`."""
    section = PAGE.read_text().partition("### Close codes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d{4}) \|.*\| ([^|]*) \|$", section, re.MULTILINE)
    return {int(code): advice for code, advice in rows}


def table_of_the_script() -> list[dict[str, Any]]:
    rows = re.findall(
        r"\{ code: (\d+), name: \"(\w+)\", reconnect: \"(\w+)\" \}", SCRIPT.read_text()
    )
    return [{"code": int(code), "name": name, "reconnect": word} for code, name, word in rows]


def test_the_table_is_the_one_of_the_protocols_page() -> None:
    page = table_of_the_page()
    assert page.keys() == {code.value for code in CloseCode}
    for code, advice in page.items():
        assert should_reconnect(code) is (advice != "no"), code


def test_the_table_is_the_one_of_the_browser() -> None:
    script = table_of_the_script()
    assert [(row["code"], row["name"]) for row in script] == [
        (code.value, code.name.lower()) for code in CloseCode
    ]
    for row in script:
        needs_token = row["code"] == CloseCode.UNAUTHENTICATED
        comes_back = "after_new_token" if needs_token else "yes"
        assert row["reconnect"] == (comes_back if should_reconnect(row["code"]) else "no"), row


@pytest.mark.parametrize(
    ("codes", "comes_back"),
    [
        (range(4000, 4500), True),
        (range(4500, 5000), False),
        ([1000, 1009], False),
        ([1001, 1005, 1006, 1011, 1012, 1013, 1015, 3000], True),
    ],
)
def test_the_range_carries_the_advice_for_codes_nobody_knows(codes: Any, comes_back: bool) -> None:
    assert {should_reconnect(code) for code in codes} == {comes_back}


async def ended(server: ServerProcess, client: WireClient, code: int) -> None:
    """Closed with `code`, after a `disconnect` that says the same, and so is its row."""
    end = await client.closed()
    assert end.code == code
    assert end.disconnect is not None
    assert client.frames[-1] is end.disconnect, "the last frame before the close"
    assert end.disconnect["code"] == code
    assert end.disconnect["reason"]
    assert end.disconnect["reconnect"] is should_reconnect(code)
    row = await closed_row(server, client.connection_id)
    assert (row.close_code, row.close_reason) == (code, end.disconnect["reason"])


async def test_a_flood_is_closed_with_4429(any_server: ServerProcess, connect: Connect) -> None:
    client = await connect(any_server, any_server.make_user())
    other = await connect(any_server, any_server.make_user())
    burst = client.welcome["limits"]["burst"]
    for number in range(burst + MAX_RATE_LIMITED + 60):
        await client.send({"type": "ping", "id": str(number)})
    await ended(any_server, client, 4429)
    assert client.frames[-1]["retry_after"] > 0
    refusals = [frame for frame in client.frames if frame["type"] == "error"]
    assert {frame["code"] for frame in refusals} == {"rate_limited"}
    assert len(refusals) == MAX_RATE_LIMITED + 1
    assert (await other.request({"type": "ping"}))["type"] == "pong"


async def test_a_hundred_refused_for_their_rate_are_no_flood_yet(
    server: ServerProcess, connect: Connect
) -> None:
    client = await connect(server, server.make_user())
    for refused in range(1, MAX_RATE_LIMITED):
        while (await ping(client))["type"] == "pong":
            pass
        assert client.socket.close_code is None, refused


async def ping(client: WireClient) -> dict[str, Any]:
    return await client.request({"type": "ping"})


INVALID: list[str | bytes] = [
    "",
    "{",
    "[]",
    "null",
    '"ping"',
    "{}",
    '{"type": "nonsense"}',
    '{"type": 1}',
    '{"type": "join"}',
    '{"type": "join", "conversation_id": 5}',
    b'{"type": "ping"}',
    b"\x00\xff",
]


async def test_twenty_invalid_frames_in_a_row_are_closed_with_4500(
    any_server: ServerProcess, connect: Connect
) -> None:
    client = await connect(any_server, any_server.make_user())
    for number in range(MAX_INVALID_IN_A_ROW):
        await client.send_raw(INVALID[number % len(INVALID)])
    await ended(any_server, client, 4500)
    errors = [frame for frame in client.frames if frame["type"] == "error"]
    assert [error["code"] for error in errors] == ["invalid"] * MAX_INVALID_IN_A_ROW


async def test_a_valid_frame_between_invalid_ones_begins_the_row_anew(
    any_server: ServerProcess, connect: Connect
) -> None:
    client = await connect(any_server, any_server.make_user())
    almost = MAX_INVALID_IN_A_ROW - 1
    for _ in range(almost):
        await client.send_raw("{")
    # Refused, but well-formed: there is no such conversation.
    answer = await client.request({"type": "join", "conversation_id": str(uuid.uuid4())})
    assert answer["code"] == "not_found"
    for _ in range(almost):
        await client.send_raw("{")
    await client.expect("error", code="invalid")
    assert (await ping(client))["type"] in {"pong", "error"}
    assert client.socket.close_code is None


async def test_invalid_frames_count_without_a_token_too(
    server: ServerProcess, connect: Connect
) -> None:
    client = await connect(server)
    for _ in range(MAX_INVALID_IN_A_ROW):
        await client.send_raw("{")
    await ended(server, client, 4500)


@pytest.mark.parametrize("kind_of_frame", ["text", "text of many bytes", "binary", "in fragments"])
async def test_a_frame_over_the_limit_is_closed_with_4511(
    any_server: ServerProcess, connect: Connect, kind_of_frame: str
) -> None:
    client = await connect(any_server, any_server.make_user())
    limit = client.welcome["limits"]["max_frame_bytes"]
    ping = json.dumps({"type": "ping", "id": "big", "pad": ""})[:-2]
    largest = ping + "x" * (limit - len(ping) - 2) + '"}'
    assert len(largest) == limit
    await client.send_raw(largest)
    await client.expect("pong", id="big")
    if kind_of_frame == "text":
        await client.send_raw(largest + " ")
    elif kind_of_frame == "binary":
        await client.send_raw((largest + " ").encode())
    elif kind_of_frame == "in fragments":
        half = limit // 2
        await client.socket.send(iter([largest[:half], largest[half:], " "]))
    else:
        await client.send_raw(largest.replace("x", "é", 1))
    await ended(any_server, client, 4511)


async def test_a_frame_over_the_servers_own_cap_ends_the_connection_and_nothing_else(
    any_server: ServerProcess, connect: Connect
) -> None:
    client = await connect(any_server, any_server.make_user())
    other = await connect(any_server, any_server.make_user())
    await client.send_raw("x" * (2**20 + 1))
    end = await client.closed()
    assert end.code in {1006, 1009}
    await closed_row(any_server, client.connection_id)
    assert (await other.request({"type": "ping"}))["type"] == "pong"


async def test_an_administrator_ends_a_connection_with_4510(
    any_server: ServerProcess, connect: Connect, rest: Callable[..., httpx.AsyncClient]
) -> None:
    alice, staff = any_server.make_user(), any_server.make_user(is_staff=True)
    client, other = await connect(any_server, alice), await connect(any_server, alice)
    address = f"/api/connections/{client.connection_id}"
    assert (await rest(any_server, alice).delete(address)).status_code == 403
    assert (await rest(any_server, staff).delete(address)).status_code == 202
    await ended(any_server, client, 4510)
    unknown = f"/api/connections/{uuid.uuid4()}"
    for gone in (unknown, address):
        assert (await rest(any_server, staff).delete(gone)).status_code == 404
    assert (await other.request({"type": "ping"}))["type"] == "pong"


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_client_may_close_with_a_code_of_its_own(
    any_server: ServerProcess, connect: Connect, code: int
) -> None:
    client = await connect(any_server, any_server.make_user())
    await client.socket.close(code, "enough")
    assert (await closed_row(any_server, client.connection_id)).close_code == code


def test_a_client_cannot_make_up_labels_of_metrics() -> None:
    assert [close_label(code) for code in (1000, 1006, 4408)] == ["1000", "1006", "4408"]
    assert close_label(4777) == close_label(3999) == "other"

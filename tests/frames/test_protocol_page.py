"""The tables of docs/protocol.md against the code that they describe."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest
from django.urls import get_resolver

from connections import protocol
from connections.close_codes import FIRST_STAY_AWAY, CloseCode, should_reconnect
from connections.manager import WebSocketManager
from connections.publication import SERVER_TYPES
from ovara.conf import OvaraSettings
from ovara.errors import OvaraError
from tests.support.environment import ROOT

pytestmark = pytest.mark.storeless

TEXT = Path(ROOT, "docs/protocol.md").read_text()
NAME = re.compile(r"`([^`]+)`")


def section(title):
    """What stands below a heading, up to the next."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title):
    """The cells of the table below a heading, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split(" |")] for line in lines[2:]]


def test_requests_have_the_fields_of_the_table():
    table = {}
    for kind, fields, *_ in rows("Client to server"):
        # In parentheses: what a field may hold.
        plain = re.sub(r"\([^)]*\)", "", fields)
        table[NAME.fullmatch(kind)[1]] = {
            name: bool(optional) for name, optional in re.findall(r"`(\w+)`(\?)?", plain)
        }
    code = {
        protocol.TYPE_NAMES[kind]: {
            one.name: not one.required for one in msgspec.structs.fields(kind) if one.name != "id"
        }
        for kind in protocol.REQUEST_TYPES
    }
    assert table == code


def test_the_server_sends_the_types_of_the_table():
    types = {name for cells in rows("Server to client") for name in NAME.findall(cells[0])}
    assert types == SERVER_TYPES | {"ack", "error", "pong", "disconnect"}


def test_error_codes_are_those_of_the_code():
    def codes(kind):
        return {kind.code}.union(*(codes(one) for one in kind.__subclasses__()))

    named = set(NAME.findall(section("Error codes").partition("An error does not")[0]))
    assert named - {"message", "retry_after"} == codes(OvaraError)


def test_the_checks_are_named_in_their_order():
    (order,) = re.findall(r"Checks come in this order: (.*?)\. A", TEXT)
    assert NAME.findall(order) == [
        *("rate_limited", "too_large", "invalid", "unauthenticated"),
        *("not_found", "not_joined", "forbidden"),
    ]


def test_close_codes_are_those_of_the_code_with_their_advice():
    table = {int(code): advice for code, _, advice in rows("Close codes")}
    assert sorted(table) == sorted(CloseCode)
    for code, advice in table.items():
        assert should_reconnect(code) is not advice.startswith("no")
        if code >= 4000:
            assert should_reconnect(code) is (code < FIRST_STAY_AWAY)


def test_settings_are_those_of_the_code_with_their_defaults():
    defaults = {spec.name.upper(): spec.default for spec in dataclasses.fields(OvaraSettings)}
    found = {}
    for names, values, _ in rows("Settings"):
        parts = NAME.findall(names)
        # `MAX_CONNECTIONS_PER_CLIENT`, `…_PER_USER`
        full = [
            name.replace("…", parts[0].rpartition("_PER_")[0]) if "…" in name else name
            for name in parts
        ]
        found |= dict(zip(full, values.split(", "), strict=True))
    assert set(found) == set(defaults)
    words = {"off": False, "empty": ("", ()), "`SECRET_KEY`": ""}
    for name, shown in found.items():
        value = shown.split(" (")[0]
        expected = words.get(value)
        if isinstance(expected, tuple):
            assert defaults[name] in expected
        elif expected is not None:
            assert defaults[name] == expected
        else:
            assert float(value) == defaults[name], name


@pytest.mark.parametrize("sync", [False, True])
def test_the_python_api_is_there(sync):
    code = re.search(r"```python\n(.*?)```", section("Python API (server-side code)"), re.DOTALL)
    called = set(re.findall(r"websocket_manager\.(\w+)\(", code[1]))
    assert len(called) >= 12
    manager = WebSocketManager()
    for name in called:
        assert callable(getattr(manager.sync if sync else manager, name)), name


def test_every_rest_address_is_there():
    shown = set()
    for cells in rows("REST"):
        for address in NAME.findall(cells[0]):
            words = address.split(" ")
            path = words[1] if len(words) > 1 and words[1].startswith("/") else words[-1]
            if path.startswith("/"):
                shown.add(path.partition("?")[0])
    assert len(shown) > 12
    some_id = "01a204ff-b87e-7596-8aa3-a61245b618c3"
    for path in shown:
        concrete = re.sub(r"\{[^}]*\}", some_id, path).replace("…", f"/api/conversations/{some_id}")
        match = get_resolver().resolve(concrete)
        assert match.func.__name__ != "no_such_address", path

"""docs/frames.md is a script: every line of it is played against a running server."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connections import protocol
from connections.publication import SERVER_TYPES
from ovara.errors import Invalid
from tests.support.environment import ROOT

PAGE = Path(ROOT, "docs/frames.md")
FENCE = re.compile(r"^```(frames|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TOKEN = re.compile(r"(\w+)'s token")


def blocks(language):
    return [text for kind, text in FENCE.findall(PAGE.read_text()) if kind == language]


def lines():
    """The script: its lines, each with those that go on with it."""
    whole = []
    for line in "".join(blocks("frames")).splitlines():
        if line.startswith(" "):
            whole[-1] += line.strip() + " "
        else:
            whole.append(line + " ")
    return [line.strip() for line in whole]


def literal_frames(text):
    """The JSON objects that follow one another in `text`."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while text[place:].strip():
        place += len(text[place:]) - len(text[place:].lstrip())
        frame, place = decoder.raw_decode(text, place)
        found.append(frame)
    return found


def frames_on_the_page():
    """(direction, frame) of every frame, in order; those that are only shown are the server's."""
    played = [
        (match[1], json.loads(match[2]))
        for match in (re.fullmatch(r"\S+\s+([<>]) (.*)", line) for line in lines())
        if match
    ]
    return played + [("<", frame) for text in blocks("json") for frame in literal_frames(text)]


@dataclass
class Stage:
    """The people and their connections; and what the page's ids stand for here."""

    server: object
    accounts: dict
    connect: object
    rest: object
    clients: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)

    async def play(self, line):
        who, words = re.fullmatch(r"(\S+)\s+(.*)", line).groups()
        if words.startswith("connects to "):
            await self.opens(who, words.removeprefix("connects to "))
        elif words.startswith("> "):
            frame = json.loads(self.here(words[2:]))
            if "token" in frame:
                frame["token"] = self.accounts[TOKEN.fullmatch(frame["token"])[1]].token()
            await self.clients[who].send(frame)
        elif words.startswith("< "):
            await self.hears(who, json.loads(words[2:]))
        else:
            method, address, body = re.fullmatch(r"(\S+) (\S+) ?(.*)", words).groups()
            request = self.rest(self.server, self.accounts[who])
            answer = await request.request(
                method, self.here(address), json=json.loads(self.here(body)) if body else None
            )
            assert answer.is_success, answer.text

    async def opens(self, who, words):
        address, _, token = words.partition(" with ")
        query = dict(part.split("=") for part in address.partition("?")[2].split("&") if part)
        account = self.accounts[TOKEN.fullmatch(token)[1]] if token else None
        client = await self.connect(
            self.server, account, query={name: self.here(value) for name, value in query.items()}
        )
        client.frames.insert(0, client.welcome)
        self.clients[who] = client

    async def hears(self, who, expected):
        frame = await self.clients[who].expect(expected["type"])
        self.compare(expected, frame, expected["type"])

    def here(self, text):
        """`text` of the page with the ids and names of this run."""
        for page, actual in self.known.items():
            text = text.replace(page, actual)
        for name, account in self.accounts.items():
            text = re.sub(rf"\b{name}\b(?!'s token)", account.username, text)
        return text

    def compare(self, page, actual, where):
        """The same fields and values; ids may be called otherwise, but always the same way."""
        assert type(page) is type(actual) or {type(page), type(actual)} == {int, float}, where
        if isinstance(page, dict):
            assert list(page) == list(actual), where
            for name, value in page.items():
                self.compare(value, actual[name], f"{where}.{name}")
        elif isinstance(page, list):
            assert len(page) == len(actual), (where, page, actual)
            for place, value in enumerate(page):
                self.compare(value, actual[place], f"{where}[{place}]")
        elif isinstance(page, str) and TIME.fullmatch(page):
            assert TIME.fullmatch(actual), where
        elif isinstance(page, str) and (UUID.fullmatch(page) or where.endswith(".epoch")):
            assert self.known.setdefault(page, actual) == actual, where
        elif where.endswith(".username"):
            assert actual == self.accounts[page].username, where
        else:
            assert page == actual, where


@pytest.fixture
async def stage(server, connect, rest, make_conversation):
    accounts = {name: server.make_user() for name in ("alice", "bob")}
    accounts["staff"] = server.make_user(is_staff=True)
    people = accounts["alice"], accounts["bob"]
    conversation_id = await make_conversation(server, *people, title="Breakfast")
    page = Stage(server, accounts, connect, rest)
    page.known["01a20000-0000-7000-8000-0000000000c1"] = conversation_id
    return page


async def test_the_server_does_what_the_page_says(stage):
    script = deque(lines())
    assert len(script) > 70
    while script:
        line = script.popleft()
        try:
            await stage.play(line)
        except AssertionError as error:
            raise AssertionError(f"docs/frames.md: {line}\n{error}") from error
    # Names that stand for different things on the page stand for different things here.
    assert len(set(stage.known.values())) == len(stage.known)


def test_what_clients_send_is_what_the_decoder_takes():
    sent = [frame for direction, frame in frames_on_the_page() if direction == ">"]
    assert {type(request) for request in map(decoded, sent)} >= set(protocol.REQUEST_TYPES)


def decoded(frame):
    """The request; None for those with which the page shows a refusal."""
    try:
        return protocol.decode(json.dumps(frame))
    except Invalid:
        return None


def test_the_page_shows_every_type_and_every_error_code():
    came = [frame for direction, frame in frames_on_the_page() if direction == "<"]
    assert {frame["type"] for frame in came} == SERVER_TYPES | {
        *("welcome", "ack", "pong", "error", "disconnect"),
    }
    assert {frame["code"] for frame in came if frame["type"] == "error"} == {
        *("unauthenticated", "forbidden", "not_found", "not_joined", "invalid", "too_large"),
        *("rate_limited", "overloaded", "internal"),
    }

"""The network goes, the server is killed, the page is reloaded: nothing is lost or comes twice."""

from __future__ import annotations

import asyncio
import json
import re

from playwright.async_api import WebSocketRoute, expect

from tests.cluster.conftest import soon
from tests.conftest import ServerWith
from tests.e2e.chat_page import SOCKETS
from tests.e2e.conftest import SERVER_AWAY, MakeConversation, OpenChat, StartTalk, Talk
from tests.e2e.contrast import too_faint
from tests.support.browser import BrowserPages
from tests.support.rest import rest_client

COUNTDOWN = re.compile(r"^Reconnecting in \d+ s$")
STORED = re.compile("Sent|Read")
CLIENT_FACTS = ("client-id", "session-id")


async def test_pages_come_back_by_themselves_after_the_server_was_killed_with_nothing_lost_or_twice(
    start_talk: StartTalk, chat: OpenChat, pages: BrowserPages, server_with: ServerWith
) -> None:
    pages.allow(SERVER_AWAY)
    server = server_with(OVARA_RECONNECT_MAX_DELAY_SECONDS="2")
    talk = await start_talk(server)
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    bob_too = await chat(talk.bob, talk, beside=bob)
    tabs = (alice, bob, bob_too)
    said: list[str] = []
    for life in range(2):
        said.append(f"before {life}")
        await alice.send(said[-1])
        await expect(alice.meta(said[-1])).to_contain_text(STORED)
        server.kill()
        for tab in tabs:
            await expect(tab.status).to_have_text(COUNTDOWN)
            await expect(tab.banner).to_contain_text("What you write is kept and sent then.")
        for number in range(3):
            said.append(f"meanwhile {life}.{number}")
            await alice.send(said[-1])
            await expect(alice.meta(said[-1])).to_contain_text("Sending…")
        server.restart()
        for tab in tabs:
            await tab.expect_online()
            await tab.expect_messages(*said)
            await expect(tab.banner).to_be_hidden()
        assert await talk.stored() == said
    await bob.send("and on it goes")
    await alice.expect_messages(*said, "and on it goes")
    await expect(alice.people).to_have_text(f"{talk.bob.username} is here")


async def test_a_message_whose_acknowledgement_was_lost_is_sent_again_and_shown_once(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    sockets: list[WebSocketRoute] = []

    def swallow_acknowledgements(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        sockets.append(socket)

        def pass_on(text: str | bytes) -> None:
            is_ack_of_message = '"ack"' in str(text) and '"client_message_id"' in str(text)
            if not is_ack_of_message or len(sockets) > 1:
                socket.send(text)

        server.on_message(pass_on)

    await alice.page.route_web_socket(SOCKETS, swallow_acknowledgements)
    await alice.reload()
    await alice.send("once")
    await bob.expect_messages("once")
    await expect(alice.meta("once")).to_contain_text("Sending…")
    await sockets[0].close(code=4412)
    await expect(alice.meta("once")).to_contain_text(STORED)
    assert len(sockets) == 2
    for tab in (alice, bob):
        await tab.expect_messages("once")
    assert await talk.stored() == ["once"]


async def test_without_a_network_the_page_says_so_and_comes_back_with_it(
    talk: Talk, chat: OpenChat, pages: BrowserPages
) -> None:
    pages.allow("net::ERR_INTERNET_DISCONNECTED")
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    await alice.open_details()
    await alice.page.context.set_offline(True)
    await expect(alice.status).to_have_text(COUNTDOWN)
    await expect(alice.fact("state")).to_have_text(COUNTDOWN)
    await expect(alice.fact("connection-id")).to_have_text("–")
    await expect(alice.fact("tabs-open-for-this-client")).to_have_text("unknown while not online")
    await expect(alice.people).to_have_text("Not connected")
    await alice.send("from the tunnel")
    await bob.send("where are you?")
    await alice.page.context.set_offline(False)
    await alice.expect_online()
    for tab in (alice, bob):
        await tab.expect_messages("where are you?", "from the tunnel")


async def test_while_it_waits_the_page_counts_down_and_try_now_does_not_wait(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    attempts: list[WebSocketRoute] = []
    second = asyncio.Event()

    def advise_patience(socket: WebSocketRoute) -> None:
        attempts.append(socket)
        if len(attempts) == 2:
            second.set()
            return  # This one gets no answer.
        server = socket.connect_to_server()
        server.on_message(lambda text: socket.send(with_delay(str(text), seconds=60)))

    await alice.page.route_web_socket(SOCKETS, advise_patience)
    await alice.reload()
    await alice.expect_online()
    await attempts[0].close(code=4408)
    await expect(alice.status).to_have_text(re.compile(r"Reconnecting in (60|5\d) s"))
    await expect(alice.status).to_have_text(re.compile(r"Reconnecting in 5\d s"))
    await expect(alice.banner).to_contain_text("The connection was idle.")
    assert await too_faint(alice.page) == {}
    await alice.banner.get_by_role("button", name="Try now").click()
    await expect(alice.status).to_have_text("Connecting…")
    await asyncio.wait_for(second.wait(), 15)
    await attempts[1].close(code=4408)
    await alice.banner.get_by_role("button", name="Try now").click()
    await alice.expect_online()
    assert len(attempts) == 3


async def test_a_reload_keeps_client_session_and_history_and_takes_a_new_connection(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    await alice.send("hello")
    await expect(alice.meta("hello")).to_contain_text("Sent")
    await alice.open_details()
    before = [await alice.fact(name).inner_text() for name in (*CLIENT_FACTS, "connection-id")]
    await alice.reload()
    await alice.expect_messages("hello")
    await alice.open_details()
    after = [await alice.fact(name).inner_text() for name in (*CLIENT_FACTS, "connection-id")]
    assert after[:2] == before[:2]
    assert after[2] != before[2]
    async with rest_client(talk.server, talk.alice) as rest:
        session = (await rest.get(f"/api/sessions/{after[1]}")).json()
    assert session["client_id"] == after[0]


async def test_a_tab_keeps_its_conversation_through_a_reconnect_whatever_other_tabs_have_opened(
    talk: Talk, chat: OpenChat, make_conversation: MakeConversation
) -> None:
    await make_conversation(talk.server, talk.alice, title="Elsewhere")
    alice = await chat(talk.alice, talk)
    alice_too = await chat(talk.alice, talk, beside=alice)
    sockets = await alice_too.severable()
    await alice.choose("Elsewhere")
    # With the draft the other tab hears which conversation was opened last.
    await alice.composer.fill("thought of elsewhere")
    await state_has(talk, "thought of elsewhere")
    await alice_too.choose("Elsewhere")
    await expect(alice_too.composer).to_have_value("thought of elsewhere")
    await alice_too.page.go_back()
    await expect(alice_too.page.get_by_role("heading", name="Talk")).to_be_visible()
    async with alice_too.page.expect_response("**/api/conversations?*"):
        await sockets[0].close(code=4408)
    await talk.post(talk.bob, "are you still here?")
    await alice_too.expect_messages("are you still here?")


async def state_has(talk: Talk, text: str) -> None:
    """Wait until what alice's tabs share was stored with `text`."""
    async with rest_client(talk.server, talk.alice) as rest:

        async def has_text() -> bool:
            return text in (await rest.get("/api/sessions")).text

        await soon(has_text, "the state is stored")


def with_delay(text: str, *, seconds: float) -> str:
    """The frame, with another advice on when to reconnect if it is `welcome`."""
    frame = json.loads(text)
    if frame["type"] == "welcome":
        frame["reconnect"] |= {"min_delay": seconds, "max_delay": seconds, "jitter": 0}
    return json.dumps(frame)

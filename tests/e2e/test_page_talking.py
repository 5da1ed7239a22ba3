"""Two people talk, each in several tabs."""

from __future__ import annotations

import json

from playwright.async_api import WebSocketRoute, expect

from tests.e2e.chat_page import SOCKETS
from tests.e2e.conftest import OpenChat, Talk
from tests.e2e.contrast import too_faint


async def test_two_people_with_two_tabs_each_see_every_message_once_and_in_one_order(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    alice_too = await chat(talk.alice, talk, beside=alice)
    bob_too = await chat(talk.bob, talk, beside=bob)
    tabs = [alice, bob, alice_too, bob_too]
    for number in range(12):
        await tabs[number % 4].send(f"message {number}")
    for tab in tabs:
        await expect(tab.bubbles).to_have_count(12)
    stored = await talk.stored()
    assert sorted(stored) == sorted(f"message {number}" for number in range(12))
    for tab in tabs:
        await tab.expect_messages(*stored)


async def test_a_message_is_shown_as_sending_until_the_server_has_it_then_as_sent(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    held: list[str] = []
    upstream: list[WebSocketRoute] = []

    def hold_messages(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        upstream.append(server)

        def pass_on(text: str | bytes) -> None:
            if json.loads(text)["type"] == "message":
                held.append(str(text))
            else:
                server.send(text)

        socket.on_message(pass_on)

    await alice.page.route_web_socket(SOCKETS, hold_messages)
    await alice.reload()
    await alice.send("hello")
    await expect(alice.meta("hello")).to_contain_text("Sending…")
    assert await talk.stored() == []
    upstream[0].send(held[0])
    await expect(alice.meta("hello")).to_contain_text("Sent")
    assert await talk.stored() == ["hello"]


async def test_a_message_that_failed_can_be_retried_edited_and_discarded(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    await alice.disconnect_by_an_administrator()
    await expect(alice.status).to_have_text("Offline")
    for text in ("one", "two", "three"):
        await alice.send(text)
        await expect(alice.meta(text)).to_contain_text("Not sent")
        await expect(alice.message(text)).to_contain_text("There is no connection.")
    await alice.banner.get_by_role("button", name="Connect again").click()
    await alice.expect_online()
    await alice.message("two").get_by_role("button", name="Discard").click()
    await alice.message("three").get_by_role("button", name="Edit").click()
    await expect(alice.composer).to_have_value("three")
    await alice.composer.press("Enter")
    await expect(alice.meta("three")).to_contain_text("Sent")
    await alice.message("one").get_by_role("button", name="Retry").click()
    await expect(alice.meta("one")).to_contain_text("Sent")
    await alice.expect_messages("three", "one")
    assert await talk.stored() == ["three", "one"]


async def test_typing_is_shown_to_others_alone_and_ends_with_the_message(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    alice_too = await chat(talk.alice, talk, beside=alice)
    bob = await chat(talk.bob, talk)
    await alice.composer.press_sequentially("hel")
    await expect(bob.typing).to_have_text(f"{talk.alice.username} is typing…")
    # What bob types comes to alice's tabs after her own typing would have.
    await bob.composer.press_sequentially("yes")
    for tab in (alice, alice_too):
        await expect(tab.typing).to_contain_text(talk.bob.username)
        assert await tab.typing.inner_text() == f"{talk.bob.username} is typing…"
    await alice.composer.press("Enter")
    await bob.expect_messages("hel")
    await expect(bob.typing).to_have_text("")
    await bob.composer.fill("")
    await expect(alice.typing).to_have_text("")


async def test_a_draft_is_there_in_the_other_tab_and_after_a_reload(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    alice_too = await chat(talk.alice, talk, beside=alice)
    await alice.composer.fill("a thought that is not")
    await expect(alice_too.composer).to_have_value("a thought that is not")
    await alice.reload()
    await expect(alice.composer).to_have_value("a thought that is not")


async def test_a_message_is_shown_as_its_text_whatever_is_in_it(talk: Talk, chat: OpenChat) -> None:
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    texts = [
        "<img src=x onerror=\"document.title='broken in'\"><b>bold</b> &amp; <script>1</script>",
        "two\n  lines, indented",
        "السلام عليكم 👩‍👩‍👧 ‮reversed",
    ]
    for text in texts:
        await alice.send(text)
    await expect(bob.bubbles).to_have_count(3)
    for tab in (alice, bob):
        assert await tab.bubbles.evaluate_all("all => all.map(one => one.textContent)") == texts
        assert await tab.bubbles.locator("*").count() == 0
        assert "broken" not in await tab.page.title()
    assert "\n  lines" in await bob.bubbles.nth(1).inner_text()


async def test_a_message_over_the_limit_stays_in_the_composer_with_words(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    await alice.send("ä" * 32_769)
    await expect(alice.page.locator("#composer-count")).to_have_text(
        "32769 of 32768 characters: shorten it to send it"
    )
    await alice.send("ä" * 32_768)
    await expect(alice.meta("ä" * 32_768)).to_contain_text("Sent")
    assert await talk.stored() == ["ä" * 32_768]


async def test_what_server_code_posts_is_shown_as_nobodys_in_person(
    talk: Talk, chat: OpenChat
) -> None:
    code = (
        "from connections.manager import websocket_manager as manager;"
        f"post = lambda *a, **k: manager.sync.post_message('{talk.id}', *a, **k);"
        "post('I am the assistant', role='assistant'); post('bob came in', role='system')"
    )
    done = talk.server.manage("shell", "-c", code)
    assert done.returncode == 0, done.stderr
    alice = await chat(talk.alice, talk)
    await alice.expect_messages("I am the assistant", "bob came in")
    author = alice.message("I am the assistant").locator(".message__author")
    await expect(author).to_have_text("Assistant")
    await expect(alice.message("bob came in").locator(".message__author")).to_be_hidden()
    assert await too_faint(alice.page) == {}

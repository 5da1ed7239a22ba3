"""Signing in and out, and what a browser is trusted with."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import Page, expect

from tests.e2e.chat_page import ChatPage
from tests.e2e.conftest import OpenChat, Talk
from tests.support.browser import BrowserPages

READABLE_BY_SCRIPTS = """() => ({
    local: { ...localStorage },
    session: { ...sessionStorage },
    cookies: document.cookie,
    globals: Object.values(window).filter((value) => typeof value === "string"),
})"""


async def sign_in(page: Page, username: str, password: str) -> None:
    await page.get_by_label("Username").fill(username)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_a_person_signs_in_by_the_form_and_arrives_at_the_address_they_wanted(
    talk: Talk, pages: BrowserPages
) -> None:
    page = await pages.open(talk.server)
    await expect(page).to_have_url(re.compile(r"/login/\?next=/$"))
    await sign_in(page, talk.alice.username, "not the password")
    await expect(page.get_by_role("alert")).to_contain_text("correct username and password")
    await expect(page.get_by_label("Username")).to_have_value(talk.alice.username)
    await expect(page.get_by_label("Password")).to_be_focused()
    await sign_in(page, talk.alice.username, talk.alice.password)
    chat_page = ChatPage(page, talk.server, talk.alice)
    await chat_page.expect_online()
    await expect(chat_page.conversation("Talk")).to_be_visible()


async def test_signing_out_ends_the_sockets_of_all_tabs_and_says_what_to_do(
    talk: Talk, chat: OpenChat, pages: BrowserPages
) -> None:
    # The other tab asks for a new token, and is refused.
    pages.allow(r"status of 40[13]")
    alice = await chat(talk.alice, talk)
    alice_too = await chat(talk.alice, talk, beside=alice)
    bob = await chat(talk.bob, talk)
    await expect(bob.people).to_have_text(f"{talk.alice.username} is here")
    await alice_too.open_details()
    client_id = await alice_too.fact("client-id").inner_text()
    await alice.page.get_by_role("button", name="Sign out").click()
    await expect(alice.page).to_have_url(re.compile("/login/"))
    await expect(alice_too.status).to_have_text("Offline")
    await expect(alice_too.banner).to_contain_text("You are signed out. Sign in again to go on.")
    await expect(bob.people).to_have_text("Nobody else is here now")

    # Signed in as somebody else, the browser is another client; and again as the first, the first.
    await sign_in(alice.page, talk.bob.username, talk.bob.password)
    as_bob = ChatPage(alice.page, talk.server, talk.bob)
    await as_bob.expect_online()
    await as_bob.choose("Talk")
    await as_bob.open_details()
    assert await as_bob.fact("client-id").inner_text() != client_id
    await as_bob.page.get_by_role("button", name="Sign out").click()
    await alice_too.banner.get_by_role("button", name="Sign in").click()
    await sign_in(alice_too.page, talk.alice.username, talk.alice.password)
    await alice_too.expect_online()
    await alice_too.open_details()
    await expect(alice_too.fact("client-id")).to_have_text(client_id)


async def test_an_administrators_disconnect_is_told_and_the_page_stays_away_until_asked(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    sockets = await alice.severable()
    await alice.disconnect_by_an_administrator()
    await expect(alice.status).to_have_text("Offline")
    await expect(alice.banner).to_contain_text("An administrator ended this connection.")
    await expect(alice.banner).to_contain_text("(Code 4510.)")
    # What would bring a lost connection back at once does not bring this one.
    await alice.evaluate("window.dispatchEvent(new Event('online'))")
    await alice.set_visibility("visible")
    await expect(alice.status).to_have_text("Offline")
    assert len(sockets) == 1
    await alice.banner.get_by_role("button", name="Connect again").click()
    await alice.expect_online()
    assert len(sockets) == 2


async def test_no_long_lived_secret_is_readable_by_scripts(talk: Talk, pages: BrowserPages) -> None:
    page = await pages.open(talk.server)
    await sign_in(page, talk.alice.username, talk.alice.password)
    alice = ChatPage(page, talk.server, talk.alice)
    await alice.expect_online()
    cookies: dict[str, Any] = {cookie["name"]: cookie for cookie in await page.context.cookies()}
    assert cookies["sessionid"]["httpOnly"] is True
    assert cookies["sessionid"]["sameSite"] == "Lax"
    readable = await alice.evaluate(READABLE_BY_SCRIPTS)
    assert set(cookies) == {"sessionid", "csrftoken"}
    assert set(dict(pair.split("=", 1) for pair in readable["cookies"].split("; "))) == {
        "csrftoken"
    }
    assert set(readable["local"]) == {
        f"ovara:{talk.alice.id}:client_id",
        f"ovara:{talk.alice.id}:session_id",
    }
    assert readable["session"] == {}
    everything = str(readable)
    assert cookies["sessionid"]["value"] not in everything
    assert not re.search(r"eyJ[\w-]+\.[\w-]+\.", everything), "a JWT"


async def test_the_policy_forbids_scripts_and_styles_that_are_not_files_of_ours(
    talk: Talk, chat: OpenChat, pages: BrowserPages
) -> None:
    alice = await chat(talk.alice, talk)
    assert pages.errors == []
    pages.allow("Content Security Policy")
    await alice.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'broken in'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<p id=probe style='color: red'>probe</p>");
    }""")
    assert "broken" not in await alice.page.title()
    colour = await alice.evaluate("getComputedStyle(document.querySelector('#probe')).color")
    assert colour != "rgb(255, 0, 0)"
    assert (
        await alice.evaluate(
            "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.name)"
        )
        == "TypeError"
    )

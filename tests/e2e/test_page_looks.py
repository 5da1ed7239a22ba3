"""The page on a phone, in light and dark, with much text, and without a mouse."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.chat_page import ChatPage
from tests.e2e.conftest import OpenChat, Talk
from tests.e2e.contrast import luminance, too_faint
from tests.support.browser import BrowserPages

PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitän" * 12


async def assert_no_sideways_scrolling(page: Page) -> None:
    widths = await page.evaluate("""() => ({
        page: document.documentElement.scrollWidth,
        view: document.documentElement.clientWidth,
        wide: [...document.querySelectorAll("body *")]
            .filter((node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1)
            .filter((node) => ["auto", "scroll"].includes(getComputedStyle(node).overflowX))
            .map((node) => node.id || node.className),
    })""")
    assert widths["page"] <= widths["view"], widths
    assert widths["wide"] == []


async def test_a_phone_shows_one_column_that_never_scrolls_sideways(
    talk: Talk, chat: OpenChat, pages: BrowserPages
) -> None:
    await talk.post(talk.bob, LONG_WORD, "https://ovara.example/" + "a" * 300)
    signing_in = await pages.open(talk.server, **PHONE)
    await assert_no_sideways_scrolling(signing_in)
    alice = await chat(talk.alice, talk, opened=False, **PHONE)
    listed, thread = alice.page.locator(".sidebar"), alice.page.locator("#thread")
    await expect(alice.badge("Talk")).to_have_text("2 unread")
    await expect(thread).to_be_hidden()
    await assert_no_sideways_scrolling(alice.page)
    await alice.conversation("Talk").tap()
    await alice.expect_loaded()
    await expect(listed).to_be_hidden()
    await alice.send("short")
    await alice.send(LONG_WORD)
    await expect(alice.bubbles).to_have_count(4)
    await assert_no_sideways_scrolling(alice.page)
    for row in await alice.page.locator(".bubble").all():
        box = await row.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 360
    await alice.page.get_by_role("button", name="Invite a person").tap()
    await assert_no_sideways_scrolling(alice.page)
    await alice.page.get_by_role("button", name="Cancel").tap()
    await alice.open_details()
    await assert_no_sideways_scrolling(alice.page)
    await alice.page.get_by_role("button", name="Close the details").tap()
    await alice.disconnect_by_an_administrator()
    await alice.send("too late")
    await expect(alice.message("too late")).to_contain_text("There is no connection.")
    await assert_no_sideways_scrolling(alice.page)
    await alice.page.get_by_role("link", name="Back to the conversations").tap()
    await expect(listed).to_be_visible()
    await expect(thread).to_be_hidden()
    await assert_no_sideways_scrolling(alice.page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read_in_light_and_dark(
    talk: Talk, chat: OpenChat, pages: BrowserPages, scheme: str
) -> None:
    await talk.post(talk.bob, "good morning", "how are you?")
    signing_in = await pages.open(talk.server, color_scheme=scheme)
    await signing_in.get_by_label("Username").fill("nobody")
    await signing_in.get_by_label("Password").fill("wrong")
    await signing_in.get_by_role("button", name="Sign in").click()
    await expect(signing_in.get_by_role("alert")).to_be_visible()
    assert await too_faint(signing_in) == {}

    alice = await chat(talk.alice, talk, color_scheme=scheme)
    background = await alice.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert luminance(background) > 0.8 if scheme == "light" else luminance(background) < 0.05
    await alice.send("fine, thanks")
    await expect(alice.meta("fine, thanks")).to_contain_text("Sent")
    await alice.open_details()
    assert await too_faint(alice.page) == {}
    await alice.page.get_by_role("button", name="New", exact=True).click()
    assert await too_faint(alice.page) == {}
    await alice.page.get_by_role("button", name="Cancel").click()
    await alice.disconnect_by_an_administrator()
    await alice.send("too late")
    await expect(alice.message("too late")).to_contain_text("There is no connection.")
    assert await too_faint(alice.page) == {}


async def test_older_messages_load_on_demand_and_keep_the_readers_place(
    talk: Talk, chat: OpenChat
) -> None:
    await talk.post(talk.bob, *(f"number {number}" for number in range(230)))
    stored = await talk.stored()
    alice = await chat(talk.alice, talk)
    await alice.expect_messages(*stored[-50:])
    await expect(alice.bubbles.last).to_be_in_viewport()
    place = alice.bubbles.filter(has_text=stored[-50])
    await place.scroll_into_view_if_needed()
    await expect(alice.bubbles).to_have_count(100)
    await expect(place).to_be_in_viewport()
    older = alice.page.get_by_role("button", name="Show older messages")
    for count in (100, 150, 200):
        # Not `click`, which scrolls there first: who scrolls there needs no click.
        if await alice.bubbles.count() == count:
            await older.dispatch_event("click")
        await expect(alice.bubbles).not_to_have_count(count)
    await expect(alice.bubbles).to_have_count(230)
    await expect(older).to_be_hidden()
    await alice.expect_messages(*stored)
    # What comes now does not pull the reader away.
    await alice.bubbles.first.scroll_into_view_if_needed()
    await talk.post(talk.bob, "news")
    await expect(alice.bubbles).to_have_count(231)
    await expect(alice.bubbles.first).to_be_in_viewport()
    await alice.page.get_by_role("button", name="Newest").click()
    await expect(alice.bubbles.last).to_be_in_viewport()


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until `target` has the focus, which must be seen there."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await target.evaluate("node => node === document.activeElement"):
            assert await target.evaluate("node => getComputedStyle(node).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab does not lead to {target}")


async def test_a_whole_conversation_goes_by_keyboard_alone(talk: Talk, pages: BrowserPages) -> None:
    page = await pages.open(talk.server)
    keyboard = page.keyboard
    await expect(page.get_by_label("Username")).to_be_focused()
    await keyboard.type(talk.alice.username)
    await keyboard.press("Tab")
    await keyboard.type(talk.alice.password)
    await keyboard.press("Enter")
    alice = ChatPage(page, talk.server, talk.alice)
    await alice.expect_online()
    await alice.expect_loaded()

    await expect(alice.composer).to_be_focused()
    await keyboard.type("one")
    await keyboard.press("Shift+Enter")
    await keyboard.type("more line")
    await keyboard.press("Enter")
    await expect(alice.bubbles).to_have_count(1)
    await expect(alice.composer).to_be_focused()

    await page.reload()
    await alice.expect_loaded()
    await alice.page.locator("body").evaluate("() => document.activeElement.blur()")
    await tab_to(page, page.get_by_role("link", name="Skip to the message box"))
    await keyboard.press("Enter")
    await expect(alice.composer).to_be_focused()

    await keyboard.press("Control+Home")
    details = page.get_by_role("button", name="Details", exact=True)
    await tab_to(page, details)
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Details")).to_be_focused()
    await keyboard.press("Escape")
    await expect(page.locator("#details")).to_be_hidden()
    await expect(details).to_be_focused()

    await tab_to(page, page.get_by_role("button", name="New", exact=True))
    await keyboard.press("Enter")
    await keyboard.type("By keyboard")
    await keyboard.press("Tab")
    await keyboard.type(talk.bob.username)
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="By keyboard")).to_be_visible()
    await expect(alice.composer).to_be_focused()
    await keyboard.type("hello")
    await keyboard.press("Enter")
    await alice.expect_messages("hello")

    await tab_to(page, alice.conversation("Talk"))
    await keyboard.press("Enter")
    await alice.expect_messages("one\nmore line")
    await expect(alice.composer).to_be_focused()

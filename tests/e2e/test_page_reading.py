"""What has been read, by whom, and what has not."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.e2e.conftest import MakeConversation, OpenChat, Talk
from tests.support.rest import rest_client


async def test_an_unread_count_grows_while_elsewhere_and_ends_in_every_tab_with_reading(
    talk: Talk, chat: OpenChat, make_conversation: MakeConversation
) -> None:
    await make_conversation(talk.server, talk.alice, title="Elsewhere")
    alice = await chat(talk.alice, talk, opened=False)
    alice_too = await chat(talk.alice, talk, beside=alice, opened=False)
    for tab in (alice, alice_too):
        await tab.choose("Elsewhere")
    await talk.post(talk.bob, "one", "two")
    for tab in (alice, alice_too):
        await expect(tab.badge("Talk")).to_have_text("2 unread")
        await expect(tab.page).to_have_title("(2) Ovara")
    await alice.conversation("Talk").click()
    await alice.expect_messages("one", "two")
    await expect(alice.page.get_by_text("New", exact=True).last).to_be_visible()
    for tab in (alice, alice_too):
        await expect(tab.badge("Talk")).to_have_count(0)
        await expect(tab.page).to_have_title("Ovara")
    await alice.reload()
    await expect(alice.badge("Talk")).to_have_count(0)
    async with rest_client(talk.server, talk.alice) as rest:
        assert (await rest.get(f"/api/conversations/{talk.id}")).json()["unread"] == 0


async def test_a_message_is_marked_read_when_the_other_person_sees_it_and_not_before(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    await bob.set_visibility("hidden")
    await alice.send("are you there?")
    await bob.expect_messages("are you there?")
    await expect(alice.meta("are you there?")).to_contain_text("Sent")
    await expect(bob.badge("Talk")).to_have_text("1 unread")
    await bob.set_visibility("visible")
    await expect(alice.meta("are you there?")).to_have_text(re.compile("Read$"))
    await expect(bob.badge("Talk")).to_have_count(0)
    assert talk.bob.username in str(await alice.meta("are you there?").get_attribute("title"))

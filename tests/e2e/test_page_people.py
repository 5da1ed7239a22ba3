"""Who takes part, and who is here."""

from __future__ import annotations

from playwright.async_api import expect

from tests.conftest import ServerWith
from tests.e2e.conftest import OpenChat, StartTalk, Talk
from tests.support.browser import BrowserPages


async def test_a_person_is_away_only_when_every_one_of_their_tabs_is_hidden(
    talk: Talk, chat: OpenChat
) -> None:
    alice = await chat(talk.alice, talk)
    await alice.open_details()
    await expect(alice.people).to_have_text("Nobody else is here now")
    await expect(alice.person(talk.bob)).to_contain_text("not here")
    bob = await chat(talk.bob, talk)
    await expect(alice.people).to_have_text(f"{talk.bob.username} is here")
    bob_too = await chat(talk.bob, talk, beside=bob)
    await bob.set_visibility("hidden")
    # Once bob's second tab has said something after that, the first one's word has come too.
    await bob_too.send("still here")
    await alice.expect_messages("still here")
    await expect(alice.people).to_have_text(f"{talk.bob.username} is here")
    await bob_too.set_visibility("hidden")
    await expect(alice.people).to_have_text(f"{talk.bob.username} is away")
    await expect(alice.person(talk.bob)).to_contain_text("away")
    await bob.set_visibility("visible")
    await expect(alice.people).to_have_text(f"{talk.bob.username} is here")
    await bob.page.close()
    await expect(alice.people).to_have_text(f"{talk.bob.username} is away")
    await bob_too.page.close()
    await expect(alice.people).to_have_text("Nobody else is here now")
    await expect(alice.person(talk.bob)).to_contain_text("not here")


async def test_a_reload_of_one_person_is_not_seen_by_the_other(
    start_talk: StartTalk, chat: OpenChat, server_with: ServerWith
) -> None:
    talk = await start_talk(server_with(OVARA_PRESENCE_GRACE_SECONDS="30"))
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    await expect(alice.people).to_have_text(f"{talk.bob.username} is here")
    await alice.evaluate("""() => {
        window.seen = [];
        const people = document.querySelector("#thread-people");
        new MutationObserver(() => window.seen.push(people.textContent))
            .observe(people, { childList: true, characterData: true, subtree: true });
    }""")
    await bob.reload()
    await bob.send("back again")
    await alice.expect_messages("back again")
    assert await alice.evaluate("window.seen") == []


async def test_a_person_starts_a_conversation_invites_another_and_they_leave_again(
    talk: Talk, chat: OpenChat, pages: BrowserPages
) -> None:
    pages.allow(r"status of 400")
    carol = talk.server.make_user()
    alice = await chat(talk.alice, talk)
    bob = await chat(talk.bob, talk)
    invited = await chat(carol, talk, opened=False)

    await alice.page.get_by_role("button", name="New").click()
    dialog = alice.page.get_by_role("dialog", name="Start a conversation")
    await dialog.get_by_label("Title").fill("Picnic")
    await dialog.get_by_label("People").fill("nobody-of-this-name")
    await dialog.get_by_role("button", name="Start").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("nobody-of-this-name")
    await dialog.get_by_label("People").fill(talk.bob.username)
    await dialog.get_by_role("button", name="Start").click()
    await expect(dialog).to_be_hidden()
    await expect(alice.page.get_by_role("heading", name="Picnic")).to_be_visible()
    await bob.choose("Picnic")
    await alice.send("Shall we?")
    await bob.expect_messages("Shall we?")

    await alice.page.get_by_role("button", name="Invite a person").click()
    dialog = alice.page.get_by_role("dialog", name="Invite a person")
    await dialog.get_by_label("Username").fill(carol.username)
    await dialog.get_by_role("button", name="Invite").click()
    await expect(dialog).to_be_hidden()
    await invited.choose("Picnic")
    await invited.expect_messages("Shall we?")
    for tab in (alice, bob):
        await expect(tab.people).to_contain_text(f"{carol.username} is here")

    await bob.open_details()
    await bob.page.get_by_role("button", name="Leave this conversation").click()
    await expect(bob.conversation("Picnic")).to_have_count(0)
    await expect(bob.page.get_by_role("heading", name="Talk")).to_be_visible()
    await expect(bob.page.get_by_role("alert")).to_have_count(0)
    await expect(alice.people).to_have_text(f"{carol.username} is here")
    await alice.open_details()
    await expect(alice.person(talk.bob)).to_have_count(0)
    await alice.page.get_by_role("button", name=f"Remove {carol.username}").click()
    await expect(invited.conversation("Picnic")).to_have_count(0)
    await expect(invited.page.get_by_role("alert")).to_have_text(
        "You no longer take part in “Picnic”."
    )
    await expect(invited.bubbles).to_have_count(0)
    await expect(alice.people).to_have_text("Only you. Invite somebody to talk with.")


async def test_the_details_tell_the_ids_and_the_number_of_tabs(talk: Talk, chat: OpenChat) -> None:
    alice = await chat(talk.alice, talk)
    alice_too = await chat(talk.alice, talk, beside=alice)
    for tab in (alice, alice_too):
        await tab.open_details()
        await expect(tab.fact("state")).to_have_text("Online")
        await expect(tab.fact("tabs-open-for-this-client")).to_have_text("2")
        await expect(tab.fact("round-trip")).to_contain_text("ms")
    names = ("client-id", "session-id", "connection-id")
    first = [await alice.fact(name).inner_text() for name in names]
    second = [await alice_too.fact(name).inner_text() for name in names]
    assert len(set(first)) == 3
    assert first[:2] == second[:2]
    assert first[2] != second[2]
    live = await alice.live_connections()
    assert {row["connection_id"] for row in live} == {first[2], second[2]}
    await alice_too.page.close()
    await expect(alice.fact("tabs-open-for-this-client")).to_have_text("1")

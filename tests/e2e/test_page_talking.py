"""Two people talk, each in several tabs."""

from __future__ import annotations

from playwright.async_api import expect

from tests.e2e.conftest import OpenChat, Talk


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

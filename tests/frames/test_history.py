"""`history`: pages of messages, in rising sequence whichever way they are asked for."""

from __future__ import annotations

import dataclasses

import pytest

from tests.frames.conftest import sequences

TOTAL = 230


@pytest.fixture(scope="module")
def made():
    """What the first test has made, for the others to read."""
    return []


@pytest.fixture
async def long_talk(made, talk, connect, rest):
    if not made:
        client = await talk.tab(talk.alice)
        await talk.fill(client, TOTAL)
        made.append(talk)
    return dataclasses.replace(made[0], _connect=connect, _rest=rest)


async def test_history_is_asked_for_after_before_or_newest(long_talk):
    client = await long_talk.tab(long_talk.bob)

    async def page(**fields):
        ack = await client.request(long_talk.request("history", **fields))
        assert set(ack) == {"type", "id", "messages", "has_more"}
        found = sequences(ack["messages"])
        assert [one["content"] for one in ack["messages"]] == [f"message {n}" for n in found]
        first, last = (found[0], found[-1]) if found else (None, None)
        assert found == list(range(first, last + 1)) if found else not ack["has_more"]
        return first, last, ack["has_more"]

    # The newest, fifty of them.
    assert await page() == (TOTAL - 49, TOTAL, True)
    assert await page(limit=1) == (TOTAL, TOTAL, True)
    assert await page(limit=200) == (TOTAL - 199, TOTAL, True)
    assert await page(after=None, before=None, limit=None) == (TOTAL - 49, TOTAL, True)
    # After: onwards, from the oldest that is newer.
    assert await page(after=0) == (1, 50, True)
    assert await page(after=100, limit=3) == (101, 103, True)
    assert await page(after=TOTAL - 200, limit=200) == (TOTAL - 199, TOTAL, False)
    assert await page(after=TOTAL - 201, limit=200) == (TOTAL - 200, TOTAL - 1, True)
    assert await page(after=TOTAL - 1) == (TOTAL, TOTAL, False)
    assert await page(after=TOTAL) == (None, None, False)
    assert await page(after=2**53 - 1) == (None, None, False)
    # Before: backwards, from the newest that is older.
    assert await page(before=TOTAL + 1) == (TOTAL - 49, TOTAL, True)
    assert await page(before=2**53 - 1, limit=2) == (TOTAL - 1, TOTAL, True)
    assert await page(before=100, limit=3) == (97, 99, True)
    assert await page(before=201, limit=200) == (1, 200, False)
    assert await page(before=202, limit=200) == (2, 201, True)
    assert await page(before=2) == (1, 1, False)
    assert await page(before=1) == (None, None, False)
    assert await page(before=0) == (None, None, False)


async def test_pages_in_either_direction_make_the_whole(long_talk):
    client = await long_talk.tab(long_talk.bob)
    onwards, backwards = [], []
    has_more, last = True, 0
    while has_more:
        ack = await client.request(long_talk.request("history", after=last, limit=70))
        onwards += sequences(ack["messages"])
        has_more, last = ack["has_more"], onwards[-1]
    has_more, first = True, TOTAL + 1
    while has_more:
        ack = await client.request(long_talk.request("history", before=first, limit=70))
        backwards = sequences(ack["messages"]) + backwards
        has_more, first = ack["has_more"], backwards[0]
    assert onwards == backwards == list(range(1, TOTAL + 1))


async def test_history_of_nothing_is_empty(talk):
    client = await talk.tab(talk.alice)
    for fields in ({}, {"after": 0}, {"before": 1}, {"after": 2**53 - 1}):
        ack = await client.request(talk.request("history", **fields))
        assert (ack["messages"], ack["has_more"]) == ([], False)


async def test_history_and_rest_show_the_same(long_talk):
    client = await long_talk.tab(long_talk.alice)
    for fields in ({}, {"after": 10, "limit": 5}, {"before": 10, "limit": 200}):
        ack = await client.request(long_talk.request("history", **fields))
        address = f"/api/conversations/{long_talk.id}/messages"
        answer = await long_talk.rest(long_talk.alice).get(address, params=fields)
        assert answer.json() == {name: ack[name] for name in ("messages", "has_more")}

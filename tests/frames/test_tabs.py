"""What a client's connections hear of each other: `state`, `client_connections`, sessions."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.frames.conftest import of_type


@pytest.fixture
def account(node):
    return node.make_user()


@pytest.fixture
def tabs(node, account, connect):
    """`await tabs(3)`: connections of one new client; `tabs(1, of=tab)` another of its client."""

    async def open_tabs(count, of=None, **options):
        opened = []
        for _ in range(count):
            first = of or (opened[0] if opened else None)
            client_id = first.client_id if first else None
            opened.append(await connect(node, account, client_id=client_id, **options))
        return opened

    return open_tabs


async def test_state_is_replaced_and_the_other_tabs_hear_it(tabs, node, connect, account):
    one, two, three = await tabs(3)
    other_client = await connect(node, account)
    for state in ({"open": "x", "n": [1, {"a": None}]}, {"other": True}, {}):
        ack = await one.request({"type": "state", "state": state})
        assert ack == {"type": "ack", "id": ack["id"]}
        for tab in (two, three):
            assert await tab.expect("state") == {"type": "state", "state": state}
        # It replaces: what was there before is gone.
        resumed = (await tabs(1, of=one))[0]
        assert resumed.welcome["session"] == {
            "id": one.session_id,
            "resumed": True,
            "state": state,
        }
    for client in (one, other_client):
        assert await client.pending("state") == []


async def test_states_of_one_connection_take_effect_in_order(tabs):
    one, two = await tabs(2)
    for number in range(30):
        await one.send({"type": "state", "state": {"n": number}})
    await one.request({"type": "state", "state": {"n": 30}})
    await two.barrier()
    assert [frame["state"]["n"] for frame in of_type(two, "state")] == list(range(31))
    (three,) = await tabs(1, of=one)
    assert three.welcome["session"]["state"] == {"n": 30}


async def test_a_session_outlives_its_connections(tabs):
    (one,) = await tabs(1)
    assert one.welcome["session"]["resumed"] is False
    await one.request({"type": "state", "state": {"draft": "hello"}})
    await one.close()
    (again,) = await tabs(1, of=one)
    assert again.welcome["session"] == {
        "id": one.session_id,
        "resumed": True,
        "state": {"draft": "hello"},
    }


async def counts(client):
    await client.barrier()
    return [frame["count"] for frame in of_type(client, "client_connections")]


async def test_every_tab_hears_how_many_there_are(tabs, connect, node, account):
    (one,) = await tabs(1)
    other_client = await connect(node, account)
    assert one.welcome["client_connections"] == 1
    (two,) = await tabs(1, of=one)
    assert two.welcome["client_connections"] == 2
    assert await one.expect("client_connections") == {"type": "client_connections", "count": 2}
    (three,) = await tabs(1, of=one)
    assert three.welcome["client_connections"] == 3
    await one.expect("client_connections", count=3)
    await two.close()
    await three.expect("client_connections", count=2)
    three.abort()
    await one.expect("client_connections", count=1)
    assert await counts(one) == [2, 3, 2, 1]
    # The affairs of another client of the same user are not told.
    assert await counts(other_client) == []


async def test_a_tab_that_authenticates_late_hears_it_too(tabs, connect, node, account):
    (one,) = await tabs(1)
    late = await connect(node, client_id=one.client_id)
    assert late.welcome["client_connections"] is None
    assert await counts(one) == []
    ack = await late.request({"type": "authenticate", "token": account.token()})
    assert ack["client_id"] == one.client_id
    for tab in (one, late):
        assert await tab.expect("client_connections") == {"type": "client_connections", "count": 2}
    # Behind the answer, for who may not know yet who it is.
    kinds = [frame["type"] for frame in late.received]
    assert kinds == ["welcome", "ack", "client_connections"]
    # A renewal is no news.
    await late.request({"type": "authenticate", "token": account.token()})
    await late.barrier()
    assert await counts(late) == [2]


async def test_the_last_count_tells_the_truth_however_tabs_come_and_go(tabs, node, rest, account):
    """Reloads: each tab closes and opens at once, in one batch of the registry or in several."""
    (watcher,) = await tabs(1)
    others = await tabs(3, of=watcher)
    for round_ in range(8):
        with contextlib.ExitStack() as stack:
            if round_ % 2:
                # What happens meanwhile is written together.
                stack.enter_context(node.database.write_lock())
            reloads = [asyncio.create_task(tabs(1, of=watcher)) for _ in others]
            await asyncio.gather(*(tab.close() for tab in others[round_ % 3 :]))
            if round_ % 2:
                await asyncio.sleep(0.05)
        others = others[: round_ % 3] + [tab for reload in reloads for tab in await reload]
        for tab in others[3:]:
            await tab.close()
        del others[3:]
        await open_connections(rest(node, account), watcher.client_id, 4)
        for tab in (watcher, *others):
            heard = [tab.welcome["client_connections"], *await counts(tab)]
            assert heard[-1] == 4


async def open_connections(rest, client_id, expected):
    """Wait until the registry has so many; the last word about it is then on its way."""
    async with asyncio.timeout(10):
        while True:
            answer = await rest.get(f"/api/clients/{client_id}/connections")
            if len(answer.json()["connections"]) == expected:
                return await asyncio.sleep(0.1)

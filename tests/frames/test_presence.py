"""Who is in a conversation: `presence`, `away`, `user_joined`, `user_left`, and the grace."""

from __future__ import annotations

import asyncio

from tests.conftest import GRACE_SECONDS
from tests.frames.conftest import of_type
from tests.frames.test_messages import TIME

PRESENCE_TYPES = ("user_joined", "user_left", "presence")


async def users(client, talk):
    """The answer to `presence`, by username."""
    answer = await client.request(talk.request("presence"))
    assert set(answer) == {"type", "id", "users"}
    return {one["user"]["username"]: one for one in answer["users"]}


async def state_of(client, talk, account):
    return (await users(client, talk))[account.username]["state"]


def changes(client):
    """All of the `presence` frames' changes that came: (event, username, state)."""
    return [
        (one["event"], one["user"]["username"], one["state"])
        for frame in of_type(client, "presence")
        for one in frame["changes"]
    ]


async def test_presence_lists_who_is_in(talk):
    alice = await talk.joined(talk.alice)
    tab = await talk.tab(talk.alice, client_id=alice.client_id)
    device, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await talk.tab(talk.bob)  # connected, but not in
    ack = await tab.join(talk.id)
    present = await users(bob, talk)
    assert list(present) == [talk.alice.username, talk.bob.username]
    for account, connections, clients in ((talk.alice, 3, 2), (talk.bob, 1, 1)):
        one = present[account.username]
        assert one == {
            "user": account.as_json,
            "state": "active",
            "connections": connections,
            "clients": clients,
            "joined_at": one["joined_at"],
            "last_seen": one["last_seen"],
        }
        assert TIME.fullmatch(one["joined_at"])
        assert TIME.fullmatch(one["last_seen"])
    # A join's answer says the same.
    assert [{**one, "last_seen": ""} for one in ack["presence"]] == [
        {**one, "last_seen": ""} for one in present.values()
    ]
    await device.request(talk.request("leave"))
    after = (await users(bob, talk))[talk.alice.username]
    assert (after["connections"], after["clients"]) == (2, 1)


async def test_the_first_connection_in_and_the_last_one_out_are_told(talk):
    bob = await talk.joined(talk.bob)
    first = await talk.joined(talk.alice)
    joined = {"type": "user_joined", "conversation_id": talk.id, "user": talk.alice.as_json}
    assert await bob.expect("user_joined") == joined
    second = await talk.joined(talk.alice)
    await first.close()
    await asyncio.sleep(GRACE_SECONDS + 0.3)
    assert await bob.pending(*PRESENCE_TYPES) == []
    await second.close()
    assert await bob.pending(*PRESENCE_TYPES) == []
    assert await bob.expect("user_left") == joined | {"type": "user_left"}
    assert list(await users(bob, talk)) == [talk.bob.username]
    # Coming back after the grace is coming anew, by `leave` as by closing.
    third = await talk.joined(talk.alice)
    await bob.expect("user_joined")
    await third.request(talk.request("leave"))
    await bob.expect("user_left")


async def test_who_comes_and_goes_is_told_to_other_users_only(talk):
    watchers = await talk.many(talk.alice, 2)
    await talk.tab(talk.bob)
    bob = await talk.joined(talk.bob)
    tab = await talk.joined(talk.bob)
    for watcher in watchers:
        await watcher.expect("user_joined", user=talk.bob.as_json)
        assert await watcher.pending(*PRESENCE_TYPES) == []
    await tab.close()
    for one in await talk.many(talk.alice, 1):
        await one.close()
    await asyncio.sleep(GRACE_SECONDS + 0.3)
    for client in (bob, *watchers):
        assert await client.pending(*PRESENCE_TYPES) == []


async def test_a_reload_is_silent(talk):
    bob, alice = await talk.joined(talk.bob), await talk.joined(talk.alice)
    await bob.expect("user_joined")
    for _ in range(3):
        await alice.close()
        assert talk.alice.username in await users(bob, talk)
        alice = await talk.tab(talk.alice, client_id=alice.client_id)
        await alice.join(talk.id)
        # A `leave` that is taken back at once is one, too.
        await alice.request(talk.request("leave"))
        await alice.join(talk.id)
    await asyncio.sleep(GRACE_SECONDS + 0.3)
    assert await bob.pending(*PRESENCE_TYPES) == []
    assert (await users(bob, talk))[talk.alice.username]["connections"] == 1


async def test_a_connection_that_is_cut_is_out_like_one_that_closes(talk):
    bob, alice = await talk.joined(talk.bob), await talk.joined(talk.alice)
    await bob.expect("user_joined")
    alice.abort()
    await bob.expect("user_left", user=talk.alice.as_json, timeout=GRACE_SECONDS + 15)


async def test_each_leave_is_told_as_soon_as_its_grace_is_over(shared_server_with, new_talk):
    # No heartbeat comes by meanwhile, which would find what was forgotten.
    node = shared_server_with(OVARA_NODE_HEARTBEAT_SECONDS="60", OVARA_NODE_LAPSE_SECONDS="120")
    carol, dan = node.make_user(), node.make_user()
    talk = await new_talk(node, carol, dan)
    watcher = await talk.joined(talk.alice)
    first, second, third = [await talk.joined(account) for account in (talk.bob, carol, dan)]
    await listen(watcher, {talk.bob.username, carol.username, dan.username})
    await first.close()
    await listen(watcher, {talk.bob.username})
    # While the one may still come back, the other goes.
    await second.close()
    await asyncio.sleep(GRACE_SECONDS / 2)
    await third.close()
    await listen(watcher, {carol.username, dan.username})
    assert list(await users(watcher, talk)) == [talk.alice.username]


async def test_a_user_is_away_when_every_tab_is(talk):
    bob, one, two = [await talk.joined(account) for account in (talk.bob, talk.alice, talk.alice)]
    name = talk.alice.username

    async def away(tab, is_away):
        ack = await tab.request({"type": "away", "is_away": is_away})
        assert ack == {"type": "ack", "id": ack["id"]}

    await away(one, True)
    await away(one, True)
    assert await state_of(bob, talk, talk.alice) == "active"
    await away(two, True)
    frame = await bob.expect("presence")
    change = {"event": "state", "user": talk.alice.as_json, "state": "away"}
    assert frame == {"type": "presence", "conversation_id": talk.id, "changes": [change]}
    assert await state_of(bob, talk, talk.alice) == "away"
    await away(one, False)
    await bob.expect("presence", changes=[change | {"state": "active"}])
    # The last shown tab goes: away, once the grace is over.
    await one.close()
    assert await state_of(bob, talk, talk.alice) == "active"
    await bob.expect("presence", changes=[change | {"state": "away"}])
    assert await state_of(bob, talk, talk.alice) == "away"
    # And another that is shown comes.
    await talk.joined(talk.alice)
    await bob.expect("presence", changes=[change | {"state": "active"}])
    assert changes(bob) == [("state", name, state) for state in ("away", "active") * 2]
    assert [frame["type"] for frame in of_type(bob, "user_joined", "user_left")] == ["user_joined"]


async def test_a_hidden_tab_is_hidden_in_every_conversation_it_joins(talk, new_talk, node):
    other = await new_talk(node, talk.alice)
    bob, elsewhere = await talk.joined(talk.bob), await other.joined(other.bob)
    alice = await talk.tab(talk.alice)
    await alice.send({"type": "away", "is_away": True})
    for one in (talk, other):
        ack = await alice.join(one.id)
        states = {user["user"]["id"]: user["state"] for user in ack["presence"]}
        assert states[talk.alice.id] == "away"
    await alice.send({"type": "away", "is_away": False})
    for client, one in ((bob, talk), (elsewhere, other)):
        frame = await client.expect("presence", conversation_id=one.id)
        assert frame["changes"][0]["state"] == "active"
    # Hidden while it is out, and in again within the grace.
    await alice.request(talk.request("leave"))
    await alice.request({"type": "away", "is_away": True})
    await alice.join(talk.id)
    assert await state_of(bob, talk, talk.alice) == "away"


async def test_a_storm_comes_as_one_presence_frame_a_second(new_talk, node):
    guests = [node.make_user() for _ in range(14)]
    talk = await new_talk(node, *guests)
    alice = await talk.joined(talk.alice)
    clients = list(await asyncio.gather(*(talk.tab(guest) for guest in guests)))
    names = {guest.username for guest in guests}

    async def check_storm(storm, single_type, event):
        """Five a second by themselves at the most, the others together, once a second."""
        alice.frames.clear()
        _, told = await asyncio.gather(storm, listen(alice, names))
        single = [moment for moment, frame in told if frame["type"] == single_type]
        many = [(moment, frame) for moment, frame in told if frame["type"] == "presence"]
        assert len(single) + len(many) == len(told)
        assert single
        assert many
        assert {one["event"] for _, frame in many for one in frame["changes"]} == {event}
        for most, moments in ((5, single), (1, [moment for moment, _ in many])):
            spans = zip(moments, moments[most:], strict=False)
            assert all(later - earlier > 0.9 for earlier, later in spans)

    joins = asyncio.gather(*(client.join(talk.id) for client in clients))
    await check_storm(joins, "user_joined", "joined")
    await asyncio.sleep(1.1)
    closes = asyncio.gather(*(client.close() for client in clients))
    await check_storm(closes, "user_left", "left")


async def listen(client, names):
    """Take news until each of `names` was told of once; (moment, frame) each."""
    told, heard = [], []
    while len(heard) < len(names):
        frame = await client.take(lambda one: one["type"] in PRESENCE_TYPES, "news", timeout=6)
        told.append((asyncio.get_running_loop().time(), frame))
        heard += [one["user"]["username"] for one in frame.get("changes", [frame])]
    assert len(heard) == len(names)
    assert set(heard) == names
    return told


async def test_states_that_change_often_are_told_once_a_second_and_end_with_the_truth(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await alice.expect("user_joined")
    started = asyncio.get_running_loop().time()
    for number in range(31):
        await bob.request({"type": "away", "is_away": number % 2 == 0})
    took = asyncio.get_running_loop().time() - started
    await asyncio.sleep(1.3)
    await alice.barrier()
    frames = of_type(alice, "presence")
    assert 1 <= len(frames) <= took + 3
    assert frames[-1]["changes"][-1]["state"] == "away"
    assert await state_of(alice, talk, talk.bob) == "away"


async def test_what_happened_to_somebody_last_is_told_last(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    # The second state has to wait for its frame; the leave does not overtake it.
    for is_away in (True, False):
        await bob.request({"type": "away", "is_away": is_away})
    await bob.request(talk.request("leave"))
    told = []
    while len(told) < 4:
        frame = await alice.take(lambda one: one["type"] in PRESENCE_TYPES, "news")
        single = {"event": frame["type"].removeprefix("user_")}
        told += [one["event"] for one in frame.get("changes", [single])]
    assert told == ["joined", "state", "state", "left"]

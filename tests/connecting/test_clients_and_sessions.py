"""Client ids persist and belong to one user; sessions are resumed; tabs are counted."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.connecting.conftest import Connect, ServerWith, refused
from tests.support.client import WireClient
from tests.support.in_process import until
from tests.support.server import ServerProcess


def new_id() -> str:
    return str(uuid.uuid4())


async def test_a_client_id_is_issued_and_persists(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    first = await connect(any_server, alice)
    another = await connect(any_server, alice)
    assert another.client_id != first.client_id, "without an id it is another client"
    await first.close()
    again = await connect(any_server, alice, client_id=first.client_id)
    assert again.client_id == first.client_id
    assert again.session_id == first.session_id


async def test_an_unknown_client_id_is_adopted_and_then_belongs_to_its_user(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice, bob = any_server.make_user(), any_server.make_user()
    client_id = new_id()
    client = await connect(any_server, alice, client_id=client_id)
    assert client.client_id == client_id
    end = await refused(connect, any_server, bob, client_id=client_id)
    assert end.code == 4503
    assert end.disconnect["reconnect"] is False
    await client.close()
    # Also when its user is not there.
    assert (await refused(connect, any_server, bob, client_id=client_id)).code == 4503


async def test_of_two_users_who_bring_the_same_new_client_id_at_once_one_gets_it(
    server: ServerProcess, connect: Connect
) -> None:
    users = [server.make_user() for _ in range(6)]
    client_id = new_id()
    clients = await asyncio.gather(*(connect(server, user, client_id=client_id) for user in users))
    accepted = [client for client in clients if client.welcome]
    assert len(accepted) == 1
    ends = [await client.closed() for client in clients if not client.welcome]
    assert {end.code for end in ends} == {4503}


@pytest.mark.parametrize("name", ["client_id", "session_id"])
@pytest.mark.parametrize(
    "malformed",
    [
        *("", "1", "null", "x" * 36, "é" * 36),
        *("6F9619FF-8B86-D011-B42D-00C04FC964FF", "6f9619ff8b86d011b42d00c04fc964ff"),
        *("{6f9619ff-8b86-d011-b42d-00c04fc964ff}", "6f9619ff-8b86-d011-b42d-00c04fc964ff\n"),
        "6f9619ff-8b86-d011-b42d-00c04fc964ff' OR 1=1",
    ],
)
async def test_a_malformed_id_is_refused_with_4500(
    server: ServerProcess, connect: Connect, name: str, malformed: str
) -> None:
    end = await refused(connect, server, server.make_user(), query={name: malformed})
    assert end.code == 4500
    assert end.disconnect["reconnect"] is False
    assert name in end.disconnect["reason"]


async def test_a_malformed_id_is_refused_without_a_token_too(
    any_server: ServerProcess, connect: Connect
) -> None:
    assert (await refused(connect, any_server, None, client_id="mine")).code == 4500


async def test_a_session_is_resumed_with_its_state(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    first = await connect(any_server, alice)
    assert first.welcome["session"]["resumed"] is False
    state = {"conversation": new_id(), "draft": "half a sentence", "scroll": 17}
    assert (await first.request({"type": "state", "state": state}))["type"] == "ack"
    await first.close()

    again = await connect(any_server, alice, client_id=first.client_id, session_id=first.session_id)
    assert again.welcome["session"] == {"id": first.session_id, "resumed": True, "state": state}


async def test_a_second_tab_resumes_too(any_server: ServerProcess, connect: Connect) -> None:
    alice = any_server.make_user()
    first = await connect(any_server, alice)
    await first.request({"type": "state", "state": {"theme": "dark"}})
    second = await connect(any_server, alice, client_id=first.client_id)
    assert second.welcome["session"] == {
        "id": first.session_id,
        "resumed": True,
        "state": {"theme": "dark"},
    }


async def test_a_session_id_alone_brings_its_client(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    first = await connect(any_server, alice)
    await first.close()
    for via in ("header", "frame"):
        again = await connect(any_server, alice, session_id=first.session_id, via=via)
        assert again.client_id == first.client_id, via
        assert again.welcome["session"]["id"] == first.session_id
        assert again.welcome["session"]["resumed"] is True


async def test_an_unknown_session_id_is_ignored(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice, unknown = any_server.make_user(), new_id()
    client = await connect(any_server, alice, session_id=unknown)
    assert client.session_id != unknown
    assert client.welcome["session"]["resumed"] is False


async def test_a_foreign_session_id_is_ignored(any_server: ServerProcess, connect: Connect) -> None:
    alice, bob = any_server.make_user(), any_server.make_user()
    hers = await connect(any_server, alice)
    await hers.request({"type": "state", "state": {"private": "yes"}})
    his = await connect(any_server, bob, session_id=hers.session_id)
    assert his.client_id != hers.client_id
    assert his.welcome["session"]["resumed"] is False
    assert his.welcome["session"]["state"] == {}
    # Nor does another client of her own take it over.
    other = await connect(any_server, alice, client_id=new_id(), session_id=hers.session_id)
    assert other.session_id != hers.session_id
    assert other.welcome["session"]["resumed"] is False
    assert await hers.pending("client_connections") == []


async def test_an_expired_session_is_ignored_and_a_new_one_begins(
    shared_server_with: ServerWith, connect: Connect
) -> None:
    server = shared_server_with(OVARA_SESSION_TTL_DAYS=str(0.8 / 86_400))
    alice = server.make_user()
    first = await connect(server, alice)
    await first.request({"type": "state", "state": {"old": True}})
    ids: dict[str, Any] = {"client_id": first.client_id, "session_id": first.session_id}
    soon = await connect(server, alice, **ids)
    assert soon.welcome["session"]["resumed"] is True
    await asyncio.gather(first.close(), soon.close())
    await asyncio.sleep(1.2)
    late = await connect(server, alice, **ids)
    assert late.client_id == first.client_id, "the client outlives its session"
    assert late.session_id != first.session_id
    assert late.welcome["session"]["resumed"] is False
    assert late.welcome["session"]["state"] == {}
    await late.close()
    # Alone it does not bring its client any more.
    alone = await connect(server, alice, session_id=first.session_id)
    assert alone.client_id != first.client_id


def end_of_session(http: httpx.AsyncClient, session_id: str) -> Callable[[], Awaitable[str]]:
    """What tells when the session expires, as REST shows it: later moments are greater."""

    async def expires_at() -> str:
        answer = await http.get(f"/api/sessions/{session_id}")
        assert answer.status_code == 200, answer.text
        moment: str = answer.json()["expires_at"]
        return moment

    return expires_at


async def test_each_tab_that_comes_and_each_state_prolongs_the_session(
    server: ServerProcess, connect: Connect, rest: Callable[..., httpx.AsyncClient]
) -> None:
    alice = server.make_user()
    first = await connect(server, alice)
    expires_at = end_of_session(rest(server, alice), first.session_id)
    ends = [await expires_at()]
    second = await connect(server, alice, client_id=first.client_id)
    ends.append(await expires_at())
    assert (await second.request({"type": "state", "state": {"n": 1}}))["type"] == "ack"
    ends.append(await expires_at())
    assert ends == sorted(set(ends))


async def test_whatever_is_done_on_a_connection_prolongs_its_session(
    shared_server_with: ServerWith, connect: Connect, rest: Callable[..., httpx.AsyncClient]
) -> None:
    # It is written every thirty heartbeats, whenever it was between them.
    server = shared_server_with(OVARA_NODE_HEARTBEAT_SECONDS="0.05")
    alice = server.make_user()
    client = await connect(server, alice)
    expires_at = end_of_session(rest(server, alice), client.session_id)
    for is_away in (True, False, True):
        end = await expires_at()
        await client.request({"type": "away", "is_away": is_away})

        async def is_later(end: str = end) -> bool:
            return await expires_at() > end

        await until(is_later, timeout=10, what="the session lives longer")


async def test_every_tab_of_a_client_knows_how_many_there_are(
    any_server: ServerProcess, connect: Connect
) -> None:
    alice = any_server.make_user()
    first = await connect(any_server, alice)
    assert first.welcome["client_connections"] == 1
    second = await connect(any_server, alice, client_id=first.client_id)
    assert second.welcome["client_connections"] == 2
    await first.expect("client_connections", count=2)
    third = await connect(any_server, alice, client_id=first.client_id, via="frame")
    for tab in (first, second, third):
        await tab.expect("client_connections", count=3)
    # Those of the same user's other clients are not counted, nor told.
    phone = await connect(any_server, alice)
    assert phone.welcome["client_connections"] == 1
    await second.close()
    for tab in (first, third):
        await tab.expect("client_connections", count=2)
    third.abort()
    await first.expect("client_connections", count=1)
    assert await phone.pending("client_connections") == []
    assert await first.pending("client_connections") == []


async def test_the_last_count_is_right_however_tabs_come_and_go_at_once(
    server: ServerProcess, connect: Connect
) -> None:
    alice = server.make_user()
    watcher = await connect(server, alice)
    client_id = watcher.client_id

    async def reload(tab: WireClient) -> WireClient:
        closing = asyncio.create_task(tab.close())
        again: WireClient = await connect(server, alice, client_id=client_id)
        await closing
        return again

    tabs = [await connect(server, alice, client_id=client_id) for _ in range(4)]
    for _ in range(5):
        tabs = await asyncio.gather(*map(reload, tabs))
    await asyncio.gather(*(tab.close() for tab in tabs[1:]))
    counts = [watcher.welcome["client_connections"]]
    while counts[-1] != 2 or await watcher.pending("client_connections"):
        counts.append((await watcher.expect("client_connections"))["count"])
    told = [frame["count"] for frame in await tabs[0].pending("client_connections")]
    assert [tabs[0].welcome["client_connections"], *told][-1] == 2

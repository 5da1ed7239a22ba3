"""In what order requests take effect, and what a database that does not serve does to them.

A lock on the database from outside holds the writers up for as long as a test wants: so that what
must not wait can be seen not to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import psycopg
import pytest

from tests.conftest import GRACE_SECONDS
from tests.frames.conftest import NO_SUCH_ID, SETTINGS, of_type, sequences
from tests.support.database import Database
from tests.support.stores import SecantusDB, kind_of_the_run


@pytest.fixture(scope="module")
def own_node(start_server, own_mongodb):
    """A server whose database these tests lock and break."""
    server = start_server(
        **SETTINGS, OVARA_PRESENCE_GRACE_SECONDS=str(GRACE_SECONDS), database=own_mongodb
    )
    yield server
    server.kill()


@pytest.fixture(scope="module")
def own_mongodb(tmp_path_factory, django_db_blocker):
    """A database in a MongoDB that these tests may stop; None where they run on something else."""
    if kind_of_the_run() != "mongodb":
        yield None
        return
    store = SecantusDB()
    store.start()
    yield Database.migrated(tmp_path_factory.mktemp("mongodb"), django_db_blocker, store)
    store.stop()


@contextlib.contextmanager
def database(server):
    connection = sqlite3.connect(server.database.path, isolation_level=None, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def without_table(server, name):
    """A database that fails: the table is not there meanwhile."""
    with database(server) as connection:
        # Foreign keys of other tables go on to point at the old name.
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
        try:
            yield
        finally:
            connection.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


@contextlib.contextmanager
def without_database(server):
    """One that does not serve: it ends our connections, and takes no others meanwhile."""
    store, name = server.database.store, server.database.name
    if store.kind == "mongodb":
        store.process.terminate()
        try:
            yield
        finally:
            store.start()
        return
    store.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        store.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        yield
    finally:
        store.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_requests_about_one_conversation_take_effect_in_order(talk):
    client = await talk.tab(talk.alice)
    message = talk.request("message", content="x")
    plan = [
        (talk.request("presence"), "not_joined"),
        (message | {"client_message_id": "1"}, None),
        (talk.request("read", sequence=9), None),
        (talk.request("history"), None),
        (talk.request("join", since=0), None),
        (talk.request("presence"), None),
        (message | {"client_message_id": "2"}, None),
        (message | {"client_message_id": "1"}, None),
        (talk.request("history"), None),
        (talk.request("leave"), None),
        (talk.request("presence"), "not_joined"),
        (talk.request("join", since=1), None),
        (talk.request("presence"), None),
        (talk.request("leave"), None),
    ]
    for _ in range(5):
        for place, (request, _) in enumerate(plan):
            await client.send(request | {"id": f"{place}"})
        answers = []
        for place, (_, code) in enumerate(plan):
            answer = await next_answer(client)
            assert answer["id"] == f"{place}"
            assert answer.get("code") == code
            answers.append(answer)
        assert answers[2]["sequence"] == answers[4]["sequence"] == len(answers[3]["messages"])
        assert sequences(answers[8]["messages"])[-1] == 2
        assert answers[7]["duplicate"] is True


async def next_answer(client):
    """The next ack or error, whichever it is."""
    return await client.take(lambda frame: frame["type"] in {"ack", "error"}, "an answer")


async def test_a_join_and_what_needs_it_can_be_sent_in_one_go(talk):
    alice, bob = await talk.joined(talk.alice), await talk.tab(talk.bob)
    await bob.send(talk.request("join"))
    await bob.send(talk.request("typing", is_typing=True))
    ack = await bob.request(talk.request("presence"))
    assert len(ack["users"]) == 2
    await alice.expect("typing", user=talk.bob.as_json, is_typing=True)
    assert of_type(bob, "error") == []


async def test_a_slow_request_holds_up_only_its_own_conversation(own_node, new_talk):
    talk = await new_talk(own_node)
    other = await new_talk(own_node, talk.alice)
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    with own_node.database.write_lock():
        message = talk.request("message", content="slow", client_message_id="slow")
        await alice.send(message | {"id": "slow"})
        await alice.send(talk.request("history") | {"id": "behind it"})
        # These overtake it, each answered at once:
        assert (await alice.request({"type": "ping"}))["type"] == "pong"
        assert (await alice.request(talk.request("typing", is_typing=True)))["type"] == "ack"
        await bob.expect("typing", user=talk.alice.as_json)
        assert (await alice.request(other.request("history")))["messages"] == []
        stranger = await alice.request({"type": "history", "conversation_id": NO_SUCH_ID})
        assert stranger["code"] == "not_found"
        assert (await alice.request({"type": "away", "is_away": False}))["type"] == "ack"
        # And this is another's affair.
        assert (await bob.request(talk.request("history")))["messages"] == []
        assert await alice.pending("ack") == []
        assert await bob.pending("message") == []
    # Behind it, in order, and with what it did.
    first, second = await next_answer(alice), await next_answer(alice)
    assert (first["id"], first["message"]["sequence"]) == ("slow", 1)
    assert (second["id"], sequences(second["messages"])) == ("behind it", [1])
    await bob.expect("message")


async def test_what_is_too_much_to_wait_is_overloaded_and_the_rest_is_done(own_node, new_talk):
    talk = await new_talk(own_node)
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    with own_node.database.write_lock():
        for number in range(300):
            frame = talk.request("message", content="x", client_message_id=f"{number}")
            await alice.send(frame | {"id": f"{number}"})
        refused = [await alice.expect("error", code="overloaded") for _ in range(30)]
        assert (await alice.request({"type": "ping"}))["type"] == "pong"
        # Others are not held up by it, but for the lock.
        assert (await bob.request(talk.request("history")))["messages"] == []
    await bob.message(talk.id, "behind them all")
    await alice.request(talk.request("history"), timeout=20)
    refused += [frame for frame in alice.frames if frame["type"] == "error"]
    stored = [frame for frame in alice.frames if frame["type"] == "ack"]
    assert {frame["code"] for frame in refused} == {"overloaded"}
    assert len(stored) + len(refused) == 300
    assert {frame["id"] for frame in stored + refused} == {f"{number}" for number in range(300)}
    numbers = [int(frame["id"]) for frame in stored]
    assert numbers == sorted(numbers)
    assert await total(alice, talk) == len(stored) + 1
    # What was refused can be sent again.
    again = talk.request("message", content="x", client_message_id=refused[0]["id"])
    assert (await alice.request(again))["message"]["sequence"] == len(stored) + 2


async def total(client, talk):
    newest = await client.request(talk.request("history", limit=1))
    return newest["messages"][0]["sequence"]


@pytest.mark.stores("sqlite")
async def test_without_its_tables_the_server_says_overloaded_and_goes_on(own_node, new_talk):
    talk = await new_talk(own_node)
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await alice.message(talk.id, "one")
    message = talk.request("message", content="two", client_message_id="two")

    async def overloaded(client, request):
        answer = await client.request(request)
        assert (answer["type"], answer.get("code")) == ("error", "overloaded"), answer

    with without_table(own_node, "sessions_app_message"):
        await overloaded(alice, message)
        await overloaded(alice, talk.request("history"))
        await overloaded(alice, talk.request("join", since=0))
    with without_table(own_node, "connections_subscription"):
        await overloaded(bob, talk.request("leave"))
        await overloaded(bob, talk.request("join"))
        await overloaded(bob, talk.request("presence"))
        await overloaded(bob, {"type": "away", "is_away": True})
    with without_table(own_node, "sessions_app_session"):
        await overloaded(bob, {"type": "state", "state": {"a": 1}})
    with without_table(own_node, "sessions_app_participant"):
        await overloaded(bob, talk.request("read", sequence=1))
        await overloaded(bob, {"type": "history", "conversation_id": NO_SUCH_ID})
    await all_is_as_before(talk, alice, bob)


@pytest.mark.stores("postgresql", "mongodb")
async def test_without_its_database_the_server_says_overloaded_and_goes_on(own_node, new_talk):
    talk = await new_talk(own_node)
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    await alice.message(talk.id, "one")
    requests = [
        (alice, talk.request("message", content="two", client_message_id="two")),
        (alice, talk.request("history")),
        (alice, talk.request("join", since=0)),
        (bob, talk.request("leave")),
        (bob, talk.request("join")),
        (bob, talk.request("presence")),
        (bob, {"type": "away", "is_away": True}),
        (bob, {"type": "state", "state": {"a": 1}}),
        (bob, talk.request("read", sequence=1)),
        (bob, {"type": "history", "conversation_id": NO_SUCH_ID}),
    ]
    with without_database(own_node):
        # Nobody is held up who needs nothing of it.
        assert (await bob.request({"type": "ping"}))["type"] == "pong"
        # Each of the others waits a while for a connection.
        answers = await asyncio.gather(
            *(client.request(request, timeout=60) for client, request in requests)
        )
    assert [one.get("code") for one in answers] == ["overloaded"] * len(requests), answers
    await all_is_as_before(talk, alice, bob)


async def all_is_as_before(talk, alice, bob):
    """Nothing was stored of what failed, nothing changed, and it is possible now."""
    message = talk.request("message", content="two", client_message_id="two")
    # Both are still in.
    assert (await alice.request(message))["message"]["sequence"] == 2
    await bob.barrier()
    assert sequences(await bob.pending("message")) == [1, 2]
    await bob.message(talk.id, "three")
    await alice.expect("message", timeout=5)
    presence = (await bob.request(talk.request("presence")))["users"]
    assert [one["state"] for one in presence] == ["active", "active"]
    # What failed is possible now.
    await bob.request({"type": "away", "is_away": True})
    await alice.expect("presence")
    assert (await bob.request({"type": "state", "state": {"a": 1}}))["type"] == "ack"
    assert (await bob.request(talk.request("leave")))["type"] == "ack"
    await alice.expect("user_left", user=talk.bob.as_json)


def make_unreadable(server, message):
    """Have the database hold something that our code never stores."""
    if server.database.store.kind == "postgresql":
        statement = "UPDATE sessions_app_message SET created_at = '12000-01-01' WHERE id = %s"
        with psycopg.connect(server.database.url) as connection:
            connection.execute(statement, (message["id"],))
        return
    if server.database.store.kind == "mongodb":
        messages = server.database.store.client[server.database.name]["sessions_app_message"]
        key = {"id": message["id"].replace("-", "")}
        assert messages.update_one(key, {"$set": {"created_at": "never"}}).modified_count == 1
        return
    with database(server) as connection:
        connection.execute(
            "UPDATE sessions_app_message SET created_at = 'never' WHERE id = ?",
            (message["id"].replace("-", ""),),
        )


@pytest.mark.stores("sqlite", "postgresql", "mongodb")
async def test_what_nobody_foresaw_is_internal_and_the_connection_goes_on(own_node, new_talk):
    talk = await new_talk(own_node)
    alice = await talk.joined(talk.alice)
    stored = await alice.message(talk.id, "secret words")
    make_unreadable(own_node, stored)
    mark = own_node.log_mark()
    answer = await alice.request(talk.request("history"))
    assert (answer["type"], answer["code"]) == ("error", "internal")
    assert talk.id not in answer["message"]
    await own_node.wait_for_log("handler_failed", since=mark)
    assert "secret words" not in own_node.logs()
    assert (await alice.request({"type": "ping"}))["type"] == "pong"
    assert (await alice.message(talk.id, "two"))["sequence"] == 2

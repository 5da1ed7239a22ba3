"""Every error code, the order of the checks, and what a refusal gives away: nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.frames.conftest import NO_SUCH_ID, raw_texts
from tests.frames.test_decoder import COMPLETE

ABOUT_A_CONVERSATION = [kind for kind in COMPLETE if "conversation_id" in COMPLETE[kind]]
NEEDS_JOIN = ["typing", "presence"]
TOO_LONG = "x" * 32_769


def frame(kind, **fields):
    return {"type": kind} | COMPLETE[kind] | fields


async def code_of(client, request):
    answer = await client.request(request)
    assert answer["type"] == "error", answer
    assert set(answer) <= {"type", "id", "code", "message", "retry_after"}
    assert answer["message"]
    return answer["code"]


# not_found, not_joined: the conversation.


@pytest.mark.parametrize("kind", ABOUT_A_CONVERSATION)
async def test_not_there_and_no_part_get_the_very_same_answer(talk, node, kind):
    stranger = node.make_user()
    ids = [NO_SUCH_ID, talk.id]
    texts = await raw_texts(
        node, stranger, [frame(kind, id="r", conversation_id=one) for one in ids]
    )
    assert texts[0] == texts[1]
    answer = json.loads(texts[0])
    assert (answer["type"], answer["id"], answer["code"]) == ("error", "r", "not_found")
    assert not any(one in text for one in ids for text in texts)


@pytest.mark.parametrize("kind", NEEDS_JOIN)
async def test_typing_and_presence_need_a_join(talk, kind):
    client = await talk.tab(talk.alice)
    request = frame(kind, conversation_id=talk.id)
    assert await code_of(client, request) == "not_joined"
    await client.join(talk.id)
    assert (await client.request(request))["type"] == "ack"
    await client.request(talk.request("leave"))
    assert await code_of(client, request) == "not_joined"
    # The join is one connection's, not its user's.
    assert await code_of(await talk.tab(talk.alice), request) == "not_joined"


@pytest.mark.parametrize("kind", [kind for kind in ABOUT_A_CONVERSATION if kind not in NEEDS_JOIN])
async def test_the_other_requests_need_only_a_part(talk, kind):
    client = await talk.tab(talk.bob)
    assert (await client.request(frame(kind, conversation_id=talk.id)))["type"] == "ack"


# The order of the checks.


async def test_rate_limited_comes_before_everything(limited_node, connect):
    alice = limited_node.make_user()
    client = await connect(limited_node, alice)
    stranger = await connect(limited_node)
    for one in (client, stranger):
        for _ in range(30):
            await one.send({"type": "ping"})
    for request in (
        {"type": "ping"},
        frame("message", content=TOO_LONG),
        {"type": "nope"},
        frame("join", conversation_id=NO_SUCH_ID),
        frame("authenticate"),
    ):
        for one in (client, stranger):
            answer = await one.request(request)
            assert (answer["type"], answer["code"]) == ("error", "rate_limited")
            # One in a hundred seconds; how many seconds of those are left.
            assert 0 < answer["retry_after"] <= 100
    # It is not the frame's fault: the error says so also to what is no frame.
    await client.send_raw("nonsense")
    await client.expect("error", code="rate_limited")
    # Every frame counts, and a refused one does no harm to others.
    other = await connect(limited_node, alice)
    assert (await other.request({"type": "ping"}))["type"] == "pong"


async def test_too_large_comes_before_invalid_and_unauthenticated(node, connect):
    for client in (await connect(node), await connect(node, node.make_user())):
        assert await code_of(client, frame("message", content=TOO_LONG)) == "too_large"
        large = frame("message", content=TOO_LONG, conversation_id="x", client_message_id=5)
        assert await code_of(client, large) == "too_large"
        large = frame("message", metadata={"a": "x" * 16_384})
        assert await code_of(client, large) == "too_large"
        assert await code_of(client, frame("state", state={"a": "x" * 16_384})) == "too_large"


async def test_invalid_comes_before_unauthenticated(node, connect):
    client = await connect(node)
    for request in ({"type": "nope"}, frame("join", since=-1), frame("authenticate", token=5)):
        assert await code_of(client, request) == "invalid"


@pytest.mark.parametrize("kind", [kind for kind in COMPLETE if kind != "authenticate"])
async def test_unauthenticated_comes_before_not_found(talk, node, connect, kind):
    client = await connect(node)
    for one in (NO_SUCH_ID, talk.id):
        request = frame(kind)
        if "conversation_id" in request:
            request["conversation_id"] = one
        assert await code_of(client, request) == "unauthenticated"


async def test_not_found_comes_before_not_joined_and_invalid_before_both(talk, node, connect):
    stranger = await connect(node, node.make_user())
    for kind in NEEDS_JOIN:
        assert await code_of(stranger, frame(kind, conversation_id=talk.id)) == "not_found"
    for request in (
        frame("typing", conversation_id=talk.id, is_typing=1),
        frame("history", conversation_id=talk.id, after=1, before=2),
        frame("read", conversation_id=NO_SUCH_ID, sequence=2**53),
    ):
        assert await code_of(stranger, request) == "invalid"


# authenticate: unauthenticated, forbidden.


async def test_a_token_that_is_no_good_changes_nothing(node, connect):
    account, other = node.make_user(), node.make_user()
    client = await connect(node, account)
    before = client.welcome
    for token in ("", "nonsense", account.token()[:-3] + "xyz", "ey" * 5000):
        assert await code_of(client, frame("authenticate", token=token)) == "unauthenticated"
    assert await code_of(client, frame("authenticate", token=other.token())) == "forbidden"
    ack = await client.request(frame("authenticate", token=account.token()))
    assert set(ack) == {"type", "id", "user", "token_expires_at", "client_id", "session"}
    assert ack["user"] == account.as_json
    assert (ack["client_id"], ack["session"]["id"]) == (client.client_id, client.session_id)
    assert ack["session"] == {"id": client.session_id, "resumed": True, "state": {}}
    assert ack["token_expires_at"] >= before["token_expires_at"]
    assert await client.pending("disconnect", "error", "client_connections") == []


async def test_before_its_first_token_a_connection_can_try_again(node, connect):
    account = node.make_user()
    client = await connect(node)
    assert await code_of(client, frame("authenticate", token="nonsense")) == "unauthenticated"
    assert await code_of(client, {"type": "ping"}) == "unauthenticated"
    ack = await client.request(frame("authenticate", token=account.token()))
    assert set(ack) == {"type", "id", "user", "token_expires_at", "client_id", "session"}
    assert ack["session"]["resumed"] is False
    assert (await client.request({"type": "ping"}))["type"] == "pong"


# The id.


async def test_every_answer_bears_its_requests_id(talk):
    client = await talk.joined(talk.alice)
    ids = ["x", "x" * 64, " ", "null", "\U0001f600" * 64, '"\\\n\u2028', "0"]
    for request_id in ids:
        for kind in COMPLETE:
            request = frame(kind, id=request_id)
            if "conversation_id" in request:
                request["conversation_id"] = talk.id
            assert (await client.request(request))["id"] == request_id
        assert (await client.request({"type": "nope", "id": request_id}))["id"] == request_id
        large = frame("message", content=TOO_LONG, id=request_id)
        assert (await client.request(large))["id"] == request_id


@pytest.mark.parametrize("without", [{}, {"id": None}])
async def test_without_an_id_the_answer_has_none(talk, without):
    client = await talk.joined(talk.alice)
    await client.pending()
    client.frames.clear()
    last = "leave"
    for kind in [kind for kind in COMPLETE if kind != last] + [last]:
        request = frame(kind) | without
        if kind == "authenticate":
            request["token"] = talk.alice.token()
        if "conversation_id" in request:
            request["conversation_id"] = talk.id
        await client.send(request)
        if kind not in {"typing", "away"}:
            assert "id" not in await client.expect("pong" if kind == "ping" else "ack")
    await client.send({"type": "away", "is_away": False})
    await client.send({"type": "away", "is_away": True})
    await client.request({"type": "away", "is_away": False})
    assert await client.pending("ack", "error", "pong") == []
    # An error comes all the same, for these two as well.
    for request in (frame("typing", conversation_id=NO_SUCH_ID), {"type": "away"}):
        await client.send(request | without)
        assert "id" not in await client.expect("error")


async def test_an_unusable_id_is_invalid_and_not_repeated(node, connect):
    client = await connect(node, node.make_user())
    for request_id in (5, True, "", "x" * 65, ["x"], {"a": 1}, "\x00", "\ud800"):
        await client.send({"type": "ping", "id": request_id})
        answer = await client.expect("error", code="invalid")
        assert "id" not in answer


# invalid: what is no frame at all.


async def test_nonsense_is_invalid_and_the_connection_goes_on(node, connect):
    client = await connect(node, node.make_user())
    nonsense = [
        *("", " ", "nonsense", "[]", "null", '{"type":"ping"', "[" * 60_000, '{"type":"nope"}'),
        *(b"", b'{"type":"ping"}', b"\x00\xff", bytes(60_000)),
        '{"type":"ping","u":"\\ud800"}',
        '{"type":"ping","u":' + '{"a":' * 20_000 + "1" + "}" * 20_000 + "}",
    ]
    for data in nonsense:
        await client.send_raw(data)
        answer = await client.expect("error", code="invalid")
        assert "binary" in answer["message"] if isinstance(data, bytes) else answer["message"]
        assert (await client.request({"type": "ping"}))["type"] == "pong"


async def test_twenty_invalid_frames_in_a_row_end_the_connection(talk, node, connect):
    client = await connect(node, talk.alice)
    for number in range(19 + 19 + 19):
        await client.send_raw("nonsense")
        await client.expect("error", code="invalid")
        if number % 19 == 18:
            # A good frame begins a new row, also one that is refused for another reason.
            other = frame("join", conversation_id=NO_SUCH_ID)
            await client.request({"type": "ping"} if number < 20 else other)
    for _ in range(20):
        await client.send_raw("nonsense")
    code, _, disconnect = await client.closed()
    assert code == 4500
    assert (disconnect["code"], disconnect["reconnect"]) == (4500, False)
    assert "20 invalid" in disconnect["reason"]
    assert client.received[-1] == disconnect
    assert [one["type"] for one in client.received[-21:-1]] == ["error"] * 20


async def test_over_a_hundred_rate_limited_frames_end_the_connection(limited_node, connect):
    account = limited_node.make_user()
    client, other = await connect(limited_node, account), await connect(limited_node, account)
    for _ in range(30 + 100):
        await client.send({"type": "ping"})
    for _ in range(100):
        await client.expect("error", code="rate_limited")
    assert client.socket.close_code is None
    await client.send({"type": "ping"})
    code, _, disconnect = await client.closed()
    assert code == 4429
    assert (disconnect["code"], disconnect["reconnect"]) == (4429, True)
    assert disconnect["retry_after"] > 0
    assert (await other.request({"type": "ping"}))["type"] == "pong"


@pytest.mark.parametrize(
    "data",
    [
        '{"type":"ping"}'.ljust(70_001),
        '{"u":"' + "é" * 34_997 + '"}',
        "x" * 70_001,
        bytes(70_001),
    ],
)
async def test_a_frame_over_the_limit_ends_the_connection(limited_node, connect, data):
    client = await connect(limited_node, limited_node.make_user())
    size = len(data.encode() if isinstance(data, str) else data)
    assert size > 70_000
    assert client.welcome["limits"]["max_frame_bytes"] == 70_000
    await client.send_raw(data)
    code, _, disconnect = await client.closed()
    assert (code, disconnect["code"], disconnect["reconnect"]) == (4511, 4511, False)


async def test_a_frame_of_just_the_limit_is_taken(limited_node, connect):
    client = await connect(limited_node, limited_node.make_user())
    await client.send_raw('{"type":"ping"}'.ljust(70_000))
    await client.expect("pong")
    text = '{"type":"ping","u":"' + "é" * 34_989 + '"}'
    assert len(text.encode()) == 70_000
    await client.send_raw(text)
    await client.expect("pong")


async def test_an_error_in_one_connection_is_felt_in_no_other(talk):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    noisy = await talk.joined(talk.bob)

    async def nonsense():
        for number in range(200):
            if number % 15 == 0:
                await noisy.request({"type": "ping"})
            await noisy.send_raw('{"type":' + "[" * 1000)

    async def messages():
        for number in range(40):
            await alice.message(talk.id, f"{number}")

    await asyncio.gather(nonsense(), messages())
    await bob.barrier()
    assert len(await bob.pending("message")) == 40

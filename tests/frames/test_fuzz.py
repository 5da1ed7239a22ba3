"""Whatever a client sends, the server stays up, answers, and nobody else feels it."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from sessions_app.models import Conversation, Participant, Role
from tests.frames.conftest import NO_SUCH_ID, of_type
from tests.frames.test_decoder import almost_frames, json_values, requests
from tests.support.client import WireClient

# Stands for the conversation of the test in what hypothesis makes up.
HERE = "the conversation"


@st.composite
def good_requests(draw):
    kind, fields = draw(requests())
    if "conversation_id" in fields:
        fields["conversation_id"] = draw(st.sampled_from([HERE, HERE, HERE, NO_SUCH_ID]))
    return {"type": kind} | fields


texts = st.text(st.characters(codec="utf-8"))
frames = st.one_of(
    st.binary(max_size=300),
    texts,
    json_values.map(json.dumps),
    almost_frames.map(json.dumps),
    almost_frames.map(lambda frame: json.dumps(frame | {"conversation_id": HERE})),
    good_requests().map(json.dumps),
    good_requests().map(json.dumps),
    good_requests().map(json.dumps),
)


@pytest.fixture(scope="module")
def place(node):
    """A conversation of two, made in the server's database: hypothesis has no loop for REST."""
    alice, bob = node.make_user(), node.make_user()

    def make(alias):
        conversation = Conversation.objects.using(alias).create(title="Noise")
        for account, role in ((alice, Role.OWNER), (bob, Role.MEMBER)):
            Participant.objects.using(alias).create(
                conversation=conversation, user_id=account.id, role=role
            )
        return str(conversation.pk)

    return node, node.database.run(make), alice, bob


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    # Not shrunk: against a server that takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.lists(frames, min_size=1, max_size=40))
def test_the_server_answers_whatever_comes(place, data):
    asyncio.run(fire(*place, data))


async def fire(node, conversation_id, alice, bob, data):
    mark = node.log_mark()
    history = {"type": "history", "conversation_id": conversation_id}
    async with (
        await WireClient.connect(node, alice) as noisy,
        await WireClient.connect(node, bob) as quiet,
    ):
        await quiet.join(conversation_id)
        await noisy.join(conversation_id)
        try:
            for one in data:
                here = one.replace(HERE, conversation_id) if isinstance(one, str) else one
                await noisy.send_raw(here)
            # In its lane behind all the others: everything was dealt with.
            await noisy.request(history | {"id": "the end"}, timeout=30)
        except (AssertionError, ConnectionClosed):
            # Or it had enough of invalid frames.
            if (await noisy.closed()).code != 4500:
                raise
        assert "internal" not in {one["code"] for one in of_type(noisy, "error")}
        assert (await quiet.request(history))["type"] == "ack"
    log = "\n".join(node.logs().split("\n")[mark:])
    assert not re.search("handler_failed|Traceback|ERROR", log), log


def websocket_frame(opcode, payload):
    """A frame as RFC 6455 writes it, with a mask of zeros, which changes nothing."""
    assert len(payload) < 126
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


@pytest.mark.parametrize(
    "data",
    [
        websocket_frame(1, b'{"type":"ping","u":"\xff\xfe"}'),  # no UTF-8
        websocket_frame(1, b"\xed\xa0\x80"),  # a surrogate, encoded
        websocket_frame(3, b"x"),  # an opcode that nobody knows
        b"\x81\x05hello",  # without a mask
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(5000),
    ],
)
async def test_what_is_no_websocket_ends_that_connection_alone(talk, data):
    alice, bob = await talk.joined(talk.alice), await talk.joined(talk.bob)
    bad = await talk.joined(talk.bob)
    bad.socket.transport.write(data)
    code, _, _ = await bad.closed()
    assert code not in {None, 1000}
    await alice.message(talk.id, "hello")
    await bob.expect("message")
    assert not re.search("handler_failed|Traceback", talk.server.logs())

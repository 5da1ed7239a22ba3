"""docs/asyncapi.yaml is sound, complete, and says what the code and the other pages say.

Every frame that any test of this folder receives is held against it too: see `connect` there.
"""

from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest
from hypothesis import given

from connections import protocol
from connections.close_codes import CloseCode
from connections.publication import SERVER_TYPES
from ovara.errors import Invalid, OvaraError, TooLarge
from tests.frames.described import REQUEST_PREFIX, check, description, messages
from tests.frames.test_decoder import almost_frames, requests
from tests.frames.test_frames_page import frames_on_the_page

pytestmark = pytest.mark.storeless

# Besides those that are published: the answers, and the two ends of a connection.
OTHER_SERVER_TYPES = {"ack", "pong", "error", "welcome", "disconnect"}
RESERVED = {"request.cancel", "delta", "message_updated"}


def references(node, path="#"):
    """Every (where, target) in the document."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield path, value
            else:
                yield from references(value, f"{path}/{name}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from references(value, f"{path}/{place}")


def resolve(reference):
    assert reference.startswith("#/"), reference
    node = description()
    for name in reference[2:].split("/"):
        node = node[name]
    return node


def resolved(node):
    """A message or channel, by its reference or in place."""
    while "$ref" in node:
        node = resolve(node["$ref"])
    return node


def test_every_reference_leads_somewhere_and_everything_is_referred_to():
    found = list(references(description()))
    assert len(found) > 150
    for where, target in found:
        assert resolve(target) is not None, where
    targets = {target for _, target in found}
    for part in ("messages", "schemas", "securitySchemes"):
        for name in description()["components"][part]:
            assert f"#/components/{part}/{name}" in targets, name


def test_it_is_an_asyncapi_3_document():
    root = description()
    assert root["asyncapi"].startswith("3.")
    assert set(root) == {
        *("asyncapi", "id", "info", "defaultContentType"),
        *("servers", "channels", "operations", "components"),
    }
    assert root["info"]["title"]
    assert root["info"]["version"] == str(protocol.PROTOCOL_VERSION)
    for server in root["servers"].values():
        assert server["host"]
        assert server["protocol"] in {"ws", "wss"}
    (channel,) = root["channels"].values()
    assert channel["address"] == "/ws/"
    for message in channel["messages"].values():
        assert set(message) == {"$ref"}


def test_every_operation_uses_the_channels_messages_and_every_message_is_used():
    (channel_name,) = description()["channels"]
    channel = f"#/channels/{channel_name}"
    listed = set(description()["channels"][channel_name]["messages"])
    assert listed == set(messages(reserved=True))
    used, asked = set(), []
    for name, operation in description()["operations"].items():
        assert operation["action"] in {"send", "receive"}
        for part in (operation, operation.get("reply", {"channel": operation["channel"]})):
            assert part["channel"] == {"$ref": channel}
            for one in part.get("messages", []):
                target = one["$ref"].removeprefix(f"{channel}/messages/")
                assert target in listed
                used.add(target)
        own = [one["$ref"].rpartition("/")[2] for one in operation["messages"]]
        # What clients send, the server receives, and answers with something or an error.
        is_request = operation["action"] == "receive"
        assert all(key.startswith(REQUEST_PREFIX) == is_request for key in own), name
        assert ("reply" in operation) == is_request
        asked += own if is_request else []
        if is_request:
            answers = [one["$ref"].rpartition("/")[2] for one in operation["reply"]["messages"]]
            assert len(answers) == 2
            assert answers[1] == "error"
    assert used == listed - RESERVED
    assert len(asked) == len(set(asked)) == len(protocol.REQUEST_TYPES)


def test_every_schema_is_a_schema():
    components = description()["components"]
    for schema in components["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
    for message in components["messages"].values():
        jsonschema.Draft7Validator.check_schema(message["payload"])


def test_it_has_every_type_of_frame():
    from_clients = {
        one["name"] for key, one in messages().items() if key.startswith(REQUEST_PREFIX)
    }
    assert from_clients == set(protocol.TYPE_NAMES.values())
    from_server = {
        one["name"] for key, one in messages().items() if not key.startswith(REQUEST_PREFIX)
    }
    assert from_server == SERVER_TYPES | OTHER_SERVER_TYPES
    assert set(messages(reserved=True)) - set(messages()) == RESERVED
    for key, message in messages(reserved=True).items():
        if key.startswith(REQUEST_PREFIX):
            assert key == REQUEST_PREFIX + message["name"]
        else:
            assert key.split(".")[0] == message["name"]


def properties(schema):
    """The names of all fields, and those of the required ones, through `allOf` and references."""
    schema = resolved(schema)
    names, needed = set(schema.get("properties", ())), set(schema.get("required", ()))
    for part in schema.get("allOf", ()):
        more, more_needed = properties(part)
        names, needed = names | more, needed | more_needed
    return names, needed


@pytest.mark.parametrize("kind", protocol.REQUEST_TYPES, ids=lambda kind: kind.__name__)
def test_a_request_has_the_fields_that_the_decoder_knows(kind):
    names, needed = properties(messages()[REQUEST_PREFIX + protocol.TYPE_NAMES[kind]]["payload"])
    fields = msgspec.structs.fields(kind)
    assert names == {"type", *(one.name for one in fields)}
    assert needed == {"type", *(one.name for one in fields if one.required)}


def test_codes_are_those_of_the_code():
    def codes(kind):
        return {kind.code}.union(*(codes(one) for one in kind.__subclasses__()))

    error = messages()["error"]["payload"]["properties"]["code"]["enum"]
    assert set(error) == codes(OvaraError)
    closes = messages()["disconnect"]["payload"]["properties"]["code"]["anyOf"][0]["enum"]
    assert closes == sorted(CloseCode)


@pytest.mark.parametrize("key", messages(reserved=True))
def test_every_message_has_examples_that_it_describes(key):
    message = messages(reserved=True)[key]
    examples = [one["payload"] for one in message["examples"]]
    assert examples
    for example in examples:
        assert example["type"] == message["name"]
        if key not in RESERVED:
            check(example, from_client=key.startswith(REQUEST_PREFIX))
            if key.startswith(REQUEST_PREFIX):
                protocol.decode(json.dumps(example))


def test_every_frame_of_the_page_is_described():
    shown = frames_on_the_page()
    assert len(shown) > 60
    wrong = []
    for direction, frame in shown:
        try:
            check(frame, from_client=direction == ">")
        except AssertionError:
            # The page shows three requests that are refused as invalid.
            wrong.append(frame["type"])
            assert direction == ">"
    assert sorted(wrong) == ["join", "read", "shout"]


@given(requests())
def test_what_is_described_so_is_taken(request):
    kind, fields = request
    check({"type": kind} | fields, from_client=True)


@given(almost_frames)
def test_whatever_the_decoder_takes_is_described(frame):
    try:
        protocol.decode(json.dumps(frame))
    except (Invalid, TooLarge):
        return
    check(frame, from_client=True)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"limit": 0}, {"limit": 1}),
        ({"limit": 201}, {"limit": 200}),
        ({"after": -1}, {"after": 0}),
        ({"after": 2**53}, {"after": 2**53 - 1}),
        ({"after": 1, "before": 1}, {"after": 1, "before": None}),
        ({"id": "x" * 65}, {"id": "x" * 64}),
        ({"id": ""}, {"id": None}),
        ({"conversation_id": None}, {}),
    ],
)
def test_what_the_decoder_refuses_is_not_described(wrong, right):
    history = {"type": "history", "conversation_id": "01a20000-0000-7000-8000-0000000000c1"}
    check(history | right, from_client=True)
    protocol.decode(json.dumps(history | right))
    with pytest.raises(AssertionError):
        check(history | wrong, from_client=True)
    with pytest.raises(Invalid):
        protocol.decode(json.dumps(history | wrong))

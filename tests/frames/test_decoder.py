"""The decoder alone: whatever text comes in, a request or a refusal comes out.

What the running server answers is in the other files of this folder.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connections import protocol
from connections.malformed import request_id_of
from ovara.errors import Invalid, TooLarge

pytestmark = pytest.mark.storeless

SOME_ID = "01a204ff-b87e-7596-8aa3-a61245b618c3"
MAX_INTEGER = 2**53 - 1
# Every field that the protocol gives any request, and one that it does not know.
FIELDS = [
    *("id", "conversation_id", "since", "epoch", "content", "client_message_id", "metadata"),
    *("is_typing", "sequence", "after", "before", "limit", "is_away", "state", "token", "unknown"),
]
# A frame of every type, with all its fields.
COMPLETE = {
    "authenticate": {"token": "ey.ey.sig"},
    "ping": {},
    "join": {"conversation_id": SOME_ID, "since": 7, "epoch": "e1"},
    "leave": {"conversation_id": SOME_ID},
    "message": {
        "conversation_id": SOME_ID,
        "content": "hello",
        "client_message_id": "c1",
        "metadata": {"colour": "red"},
    },
    "typing": {"conversation_id": SOME_ID, "is_typing": True},
    "read": {"conversation_id": SOME_ID, "sequence": 3},
    "history": {"conversation_id": SOME_ID, "after": 3, "limit": 10},
    "presence": {"conversation_id": SOME_ID},
    "away": {"is_away": True},
    "state": {"state": {"open": SOME_ID}},
}
OPTIONAL = {"id", "since", "epoch", "metadata", "after", "before", "limit"}


def frame(kind, **fields):
    """A complete frame of that type, as text, with some fields changed."""
    return json.dumps({"type": kind} | COMPLETE[kind] | fields)


def refusal(text):
    """The code and the words with which `text` is refused."""
    with pytest.raises((Invalid, TooLarge)) as caught:
        protocol.decode(text)
    return caught.value.code, str(caught.value)


def code(text):
    return refusal(text)[0]


def decoded(text):
    """The request as an object, without what is absent."""
    request = protocol.decode(text)
    fields = msgspec.structs.asdict(request)
    return protocol.TYPE_NAMES[type(request)], {k: v for k, v in fields.items() if v is not None}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from([SOME_ID, SOME_ID.upper(), "", "\x00", "\ud800", MAX_INTEGER]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
almost_frames = st.builds(
    lambda kind, given, changed: {"type": kind} | given | changed,
    st.sampled_from([*COMPLETE, "welcome", "", None, 5]),
    st.sampled_from(list(COMPLETE.values())),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4),
)


@given(st.text(st.characters(codec=None)))
@example("")
@example("[" * 100_000)
@example('{"type":"ping","id":"x","u":' + "[" * 100_000 + "]" * 100_000 + "}")
@example('{"a":' * 50_000 + "1" + "}" * 50_000)
@example('{"type":"ping","u":' + "9" * 100_000 + "}")
@example('{"type":"ping","u":1e999999999}')
@example("\ufeff" + '{"type":"ping"}')
def test_any_text_is_a_request_or_a_refusal(text):
    check_outcome(text)


@given(json_values | almost_frames)
def test_any_json_is_a_request_or_a_refusal(value):
    check_outcome(json.dumps(value))
    check_outcome(json.dumps(value, ensure_ascii=False))


def check_outcome(text):
    try:
        assert isinstance(protocol.decode(text), protocol.Request)
    except (Invalid, TooLarge) as error:
        refused = protocol.error_frame(error, request_id_of(text))
        # The answer can be sent, and is short however long the frame was.
        assert len(refused.encode()) < 1000


@st.composite
def requests(draw):
    """The name and the fields of a request that is in order."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1)
    token = text.filter(lambda value: len(value) <= 64)
    number = st.integers(0, MAX_INTEGER)
    simple = (
        st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text | st.just(0.5)
    )
    objects = st.dictionaries(text, simple | st.lists(simple, max_size=3), max_size=5)
    kinds = {
        "conversation_id": st.uuids().map(str),
        **dict.fromkeys(("since", "after", "before", "sequence"), number),
        **dict.fromkeys(("id", "epoch", "client_message_id"), token),
        **dict.fromkeys(("is_typing", "is_away"), st.booleans()),
        **dict.fromkeys(("metadata", "state"), objects),
        **dict.fromkeys(("content", "token"), text),
        "limit": st.integers(1, 200),
    }
    kind = draw(st.sampled_from(list(COMPLETE)))
    # With history, `before` in the place of `after` as often as not.
    names = {"id", *COMPLETE[kind]} - draw(st.sampled_from([set(), {"after"}]))
    if kind == "history" and "after" not in names:
        names.add("before")
    left_out = draw(st.sets(st.sampled_from(sorted(OPTIONAL))))
    return kind, {name: draw(kinds[name]) for name in sorted(names - left_out)}


@given(requests(), st.booleans())
def test_a_good_request_comes_out_as_it_went_in(request, escaped):
    kind, fields = request
    text = json.dumps({**fields, "type": kind}, ensure_ascii=escaped)
    assert decoded(text) == (kind, fields)
    # And so does what the other end makes of it.
    assert protocol.decode(protocol.encode(protocol.decode(text))) == protocol.decode(text)


def test_there_is_a_complete_example_of_every_type():
    assert set(COMPLETE) == set(protocol.TYPE_NAMES.values())
    for kind, fields in COMPLETE.items():
        assert decoded(frame(kind, id="r1")) == (kind, {"id": "r1"} | fields)


@pytest.mark.parametrize("kind", COMPLETE)
def test_null_is_the_same_as_absent(kind):
    for name in COMPLETE[kind]:
        without = {"type": kind} | {k: v for k, v in COMPLETE[kind].items() if k != name}
        nulled = without | {name: None}
        if name in OPTIONAL:
            assert decoded(json.dumps(nulled)) == decoded(json.dumps(without))
        else:
            assert code(json.dumps(nulled)) == code(json.dumps(without)) == "invalid"
    assert decoded(frame(kind, id=None)) == decoded(frame(kind))


@pytest.mark.parametrize("kind", COMPLETE)
def test_unknown_fields_are_ignored(kind):
    extra = {"colour": "red", "Type": "ping", "conversationId": [1, {"a": None}], "": 2**80}
    assert decoded(frame(kind, **extra)) == decoded(frame(kind))


@pytest.mark.parametrize("kind", COMPLETE)
def test_a_field_of_a_wrong_type_is_invalid_and_named(kind):
    wrong = [5, 0.5, True, "text", [], {}]
    for name, right in COMPLETE[kind].items():
        for value in (one for one in wrong if type(one) is not type(right)):
            got, words = refusal(frame(kind, **{name: value}))
            assert got == "invalid"
            assert name in words


INTEGERS = [("join", "since"), ("read", "sequence"), ("history", "after")]


@pytest.mark.parametrize(("kind", "name"), INTEGERS)
@pytest.mark.parametrize("value", [0, 1, MAX_INTEGER])
def test_integers_within_bounds_are_taken(kind, name, value):
    assert decoded(frame(kind, **{name: value}))[1][name] == value


@pytest.mark.parametrize(("kind", "name"), INTEGERS)
@pytest.mark.parametrize(
    "text",
    [
        *("-1", str(MAX_INTEGER + 1), "18446744073709551615", "18446744073709551616"),
        *("1" + "0" * 500, "1.0", "1e2", "0.5", "true", "false", '"1"', "[1]", "NaN", "Infinity"),
    ],
)
def test_other_numbers_are_invalid(kind, name, text):
    assert code(frame(kind, **{name: "HERE"}).replace('"HERE"', text)) == "invalid"


@pytest.mark.parametrize("limit", [0, -1, 201, True, 1.0, "50", 2**53])
def test_a_limit_is_from_1_to_200(limit):
    assert code(frame("history", limit=limit)) == "invalid"
    for good in (1, 200):
        assert decoded(frame("history", limit=good))[1]["limit"] == good


def test_history_is_asked_for_after_or_before_not_both():
    assert "not both" in refusal(frame("history", after=1, before=1))[1]
    assert "not both" in refusal(frame("history", after=0, before=0))[1]
    assert decoded(frame("history", after=None, before=1))[1]["before"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "x", SOME_ID.upper(), SOME_ID.replace("-", ""), f"{{{SOME_ID}}}", SOME_ID + "\n"),
        *(" " + SOME_ID, SOME_ID[:-1], SOME_ID + "0", "urn:uuid:" + SOME_ID, 5, [SOME_ID]),
        SOME_ID.replace("0", "٠"),  # digits, but not ASCII's
    ],
)
def test_a_malformed_conversation_id_is_invalid_and_not_repeated(wrong):
    for kind in (kind for kind, fields in COMPLETE.items() if "conversation_id" in fields):
        got, words = refusal(frame(kind, conversation_id=wrong))
        assert got == "invalid"
        assert "conversation_id" in words
        assert len(str(wrong)) < 2 or str(wrong) not in words


@pytest.mark.parametrize("name", ["id", "epoch", "client_message_id"])
def test_short_texts_have_1_to_64_characters(name):
    kind = {"id": "message", "epoch": "join", "client_message_id": "message"}[name]
    for good in ("x", "x" * 64, "\U0001f600" * 64, " ", "0", "é\n"):
        assert decoded(frame(kind, **{name: good}))[1][name] == good
    for bad in ("", "x" * 65, "\U0001f600" * 65, 5, True, ["x"], {"x": 1}):
        assert code(frame(kind, **{name: bad})) == "invalid"


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600", "\n"])
def test_content_has_1_to_32768_code_points(character):
    for length in (1, 32_768):
        assert decoded(frame("message", content=character * length))
    assert code(frame("message", content=character * 32_769)) == "too_large"
    assert code(frame("message", content="")) == "invalid"


@pytest.mark.parametrize(("kind", "name"), [("message", "metadata"), ("state", "state")])
def test_an_object_may_have_16_kib_of_json(kind, name):
    def of_size(size, filling="x"):
        # {"a":"…"}
        return {"a": filling * ((size - 8) // len(filling.encode()))}

    assert decoded(frame(kind, **{name: of_size(16_384)}))
    assert code(frame(kind, **{name: of_size(16_385)})) == "too_large"
    # Counted in bytes of UTF-8, whichever way the client wrote it.
    assert decoded(frame(kind, **{name: of_size(16_384, "\U0001f600")}))
    assert code(frame(kind, **{name: of_size(16_392, "\U0001f600")})) == "too_large"
    # Spaces between are the client's own affair.
    spaced = json.dumps({"type": kind} | COMPLETE[kind] | {name: of_size(16_384)}, indent=40)
    assert decoded(spaced)
    assert decoded(frame(kind, **{name: {}}))[1][name] == {}


@pytest.mark.parametrize(("kind", "name"), [("message", "metadata"), ("state", "state")])
def test_an_object_may_be_32_levels_deep(kind, name):
    def nested(levels, opening, closing):
        text = frame(kind, **{name: "HERE"})
        return text.replace('"HERE"', opening * levels + "5" + closing * levels)

    assert decoded(nested(32, '{"a":', "}"))
    assert code(nested(33, '{"a":', "}")) == "invalid"
    assert code(nested(500, '{"a":', "}")) == "invalid"
    assert code(nested(40_000, '{"a":', "}")) == "invalid"
    in_arrays = frame(kind, **{name: {"a": "HERE"}})
    assert decoded(in_arrays.replace('"HERE"', "[" * 31 + "]" * 31))
    assert code(in_arrays.replace('"HERE"', "[" * 32 + "]" * 32)) == "invalid"


@pytest.mark.parametrize(("kind", "name"), [("message", "metadata"), ("state", "state")])
@pytest.mark.parametrize(
    "number",
    ["9007199254740992", "-9007199254740992", "18446744073709551616", "1" * 400, "1e400", "NaN"],
)
def test_numbers_in_objects_are_what_javascript_can_hold(kind, name, number):
    text = frame(kind, **{name: {"deep": ["HERE"]}})
    assert code(text.replace('"HERE"', number)) == "invalid"
    for good in ("9007199254740991", "-9007199254740991", "1e300", "-0.5"):
        assert decoded(text.replace('"HERE"', good))


NUL_PLACES = [
    ("message", {"content": "a\x00b"}),
    ("message", {"client_message_id": "\x00"}),
    ("message", {"metadata": {"a": ["\x00"]}}),
    ("message", {"metadata": {"\x00": 1}}),
    ("state", {"state": {"a": {"b\x00": 1}}}),
    ("join", {"epoch": "\x00"}),
    ("ping", {"id": "\x00"}),
    ("authenticate", {"token": "a\x00"}),
]


@pytest.mark.parametrize(("kind", "fields"), NUL_PLACES)
@pytest.mark.parametrize("character", ["\x00", "\ud800", "\udfff\ud800"])
def test_nul_and_lone_surrogates_are_invalid_wherever_they_are(kind, fields, character):
    text = frame(kind, **fields).replace("\\u0000", json.dumps(character)[1:-1])
    got, words = refusal(text)
    assert got == "invalid"
    assert ("NUL" if character == "\x00" else "surrogate") in words
    # Not escaped, as no client can send a surrogate, and as JSON forbids NUL.
    raw = frame(kind, **fields).replace("\\u0000", character)
    assert code(raw) == "invalid"


def test_a_pair_of_surrogates_is_one_character():
    assert decoded(frame("message", content="\U0001f600"))[1]["content"] == "\U0001f600"


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "null", "true", "5", '"ping"', "[]", '[{"type":"ping"}]', "{}", '{"type":}'),
        *('{"type":"ping"', '{"type":"ping"}}', '{"type":"ping"} {"type":"ping"}', "\ufeff{}"),
        *("{'type':'ping'}", '{"type":"ping",}', '{type:"ping"}', '{"type":"pin\ng"}'),
        *('{"type":null}', '{"type":5}', '{"type":["ping"]}', '{"type":"Ping"}', '{"type":""}'),
        *('{"type":"welcome"}', '{"type":"ack"}', '{"type":"ping "}', '{"kind":"ping"}'),
        *('{"type":"cancel"}', '{"type":"delta"}'),  # reserved
    ],
)
def test_what_is_no_frame_is_invalid(text):
    assert code(text) == "invalid"


def test_white_space_around_a_frame_is_no_matter():
    assert decoded(' \r\n\t{ "type" : "ping" } \n') == ("ping", {})


def test_of_a_key_that_comes_twice_the_last_one_counts():
    text = f'{{"type":"read","conversation_id":"{SOME_ID}","sequence":1,"sequence":2}}'
    assert decoded(text)[1]["sequence"] == 2


TOO_LARGE = [
    ("message", {"content": "x" * 32_769}),
    ("message", {"metadata": {"a": "x" * 16_384}}),
    ("state", {"state": {"a": "x" * 16_384}}),
]


@pytest.mark.parametrize(("kind", "large"), TOO_LARGE)
def test_too_large_comes_before_invalid(kind, large):
    wrongs = [
        {"conversation_id": "x"},
        {"client_message_id": 5},
        {"id": 5},
        {"metadata": {"\x00": "x" * 16_384}},
        {"content": "\x00" * 32_769},
        {"content": "\ud800" * 32_769},
        {"state": {"\ud800": "x" * 16_384}},
        {"state": {"a": ["x" * 16_384, 2**60]}},
    ]
    for wrong in wrongs:
        assert code(frame(kind, **large | wrong)) == "too_large"


def test_only_the_sized_fields_of_their_own_frame_are_too_large():
    assert decoded(frame("ping", content="x" * 40_000, metadata={"a": "x" * 20_000}))
    assert code(frame("join", conversation_id="x", content="x" * 40_000)) == "invalid"
    assert code(frame("message", content=["x" * 40_000])) == "invalid"


def test_the_id_of_a_refused_frame_is_found_where_it_is_usable():
    refused = {
        '{"type":"nope","id":"r1"}': "r1",
        '{"id":"r1"}': "r1",
        '{"type":"message","id":"r1","content":"\\ud800"}': "r1",
        '{"type":"ping","id":"r1","u":"\ud800"}': "r1",
        '{"id":"r1","type":"ping","u":' + "9" * 5000 + ', "v":"\\ud800"}': "r1",
        '{"type":"ping","id":"r1"': None,
        '{"type":"ping","id":5}': None,
        '{"type":"ping","id":null}': None,
        '{"type":"ping","id":""}': None,
        '{"type":"ping","id":"\\u0000"}': None,
        '{"type":"ping","id":"\\ud800"}': None,
        json.dumps({"type": "nope", "id": "x" * 64}): "x" * 64,
        json.dumps({"type": "nope", "id": "x" * 65}): None,
        '["id"]': None,
        "": None,
        "[" * 100_000: None,
    }
    for text, request_id in refused.items():
        assert request_id_of(text) == request_id, text[:60]


def test_a_refusal_repeats_nothing_of_the_frame():
    for text in (frame("ping").replace("ping", SOME_ID), frame("read", sequence=SOME_ID)):
        assert SOME_ID not in refusal(text)[1]

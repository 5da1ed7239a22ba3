"""The frames of protocol version 1: decode and validate in one pass, encode.

docs/protocol.md is the contract. A frame type is the name of a handler in `handlers.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ovara.errors import Invalid, OvaraError, TooLarge
from ovara.ids import UUID_PATTERN
from ovara.times import now, wire
from sessions_app.validation import (
    CONTENT_MAX_LENGTH,
    JSON_MAX_BYTES,
    MAX_INTEGER,
    check_client_message_id,
    check_content,
    check_json_object,
    check_text,
)

PROTOCOL_VERSION = 1
SUBPROTOCOL = "ovara.v1"
HISTORY_MAX_LIMIT = 200

Id = Annotated[str, Meta(pattern=UUID_PATTERN)]
Token = Annotated[str, Meta(min_length=1, max_length=64)]
Integer = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class Request(msgspec.Struct, tag_field="type", kw_only=True):
    """What every frame of a client may carry."""

    id: Token | None = None

    def check(self) -> None:
        """Raise TooLarge, then Invalid, for what the types alone do not say."""


class ConversationRequest(Request, kw_only=True):
    """A frame about one conversation."""

    conversation_id: Id


class Authenticate(Request, tag="authenticate", kw_only=True):
    token: str


class Ping(Request, tag="ping"):
    pass


class Join(ConversationRequest, tag="join", kw_only=True):
    since: Integer | None = None
    epoch: Token | None = None


class Leave(ConversationRequest, tag="leave"):
    pass


class Message(ConversationRequest, tag="message", kw_only=True):
    content: str
    client_message_id: str
    metadata: dict[str, Any] | None = None

    def check(self) -> None:
        check_sizes(content=self.content, metadata=self.metadata)
        check_content(self.content)
        check_client_message_id(self.client_message_id)
        check_json_object(self.metadata or {}, "metadata")


class Typing(ConversationRequest, tag="typing", kw_only=True):
    is_typing: bool


class Read(ConversationRequest, tag="read", kw_only=True):
    sequence: Integer


class History(ConversationRequest, tag="history", kw_only=True):
    after: Integer | None = None
    before: Integer | None = None
    limit: Annotated[int, Meta(ge=1, le=HISTORY_MAX_LIMIT)] | None = None

    def check(self) -> None:
        if self.after is not None and self.before is not None:
            raise Invalid("Give after or before, not both.")


class Presence(ConversationRequest, tag="presence"):
    pass


class Away(Request, tag="away", kw_only=True):
    is_away: bool


class State(Request, tag="state", kw_only=True):
    state: dict[str, Any]

    def check(self) -> None:
        check_json_object(self.state, "state")


AnyRequest = (
    Authenticate | Ping | Join | Leave | Message | Typing | Read | History | Presence | Away | State
)
REQUEST_TYPES: tuple[type[Request], ...] = (
    Authenticate,
    Ping,
    Join,
    Leave,
    Message,
    Typing,
    Read,
    History,
    Presence,
    Away,
    State,
)
TYPE_NAMES: dict[type[Request], str] = {
    kind: str(kind.__struct_config__.tag) for kind in REQUEST_TYPES
}

_decoder = msgspec.json.Decoder(AnyRequest)
_encoder = msgspec.json.Encoder()


def decode(text: str) -> AnyRequest:
    """One frame of a client.

    Raises:
        TooLarge: `content`, `metadata` or `state` over its size, whatever else is wrong.
        Invalid: malformed JSON, an unknown type, a wrong field; the text says which.
    """
    try:
        request: AnyRequest = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        _raise_if_too_large(text)
        raise Invalid(_explain(error)) from None
    request.check()
    if request.id is not None:
        check_text(request.id, "id")
    return request


def _explain(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "The frame has a lone surrogate."
    if isinstance(error, RecursionError):
        return "The frame is nested too deeply."
    return str(error)


def _raise_if_too_large(text: str) -> None:
    """Size comes before shape: look at the sized fields of a frame that is otherwise wrong."""
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return
    if isinstance(frame, dict):
        kind = frame.get("type")
        if kind == "message":
            check_sizes(content=frame.get("content"), metadata=frame.get("metadata"))
        elif kind == "state":
            check_sizes(state=frame.get("state"))


def check_sizes(**fields: Any) -> None:
    """Raise TooLarge for a `content` of too many characters, or an object of too much JSON."""
    for name, value in fields.items():
        if isinstance(value, str) and name == "content" and len(value) > CONTENT_MAX_LENGTH:
            raise TooLarge(f"content is longer than {CONTENT_MAX_LENGTH} characters.")
        if isinstance(value, dict) and value and len(_encoder.encode(value)) > JSON_MAX_BYTES:
            raise TooLarge(f"{name} is larger than {JSON_MAX_BYTES} bytes of JSON.")


class _IdOnly(msgspec.Struct):
    id: Any = None


def request_id_of(text: str) -> str | None:
    """The `id` of a frame that was refused, where it has a usable one."""
    try:
        value = msgspec.json.decode(text, type=_IdOnly).id
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None
    return value if isinstance(value, str) and 1 <= len(value) <= 64 else None


def encode(frame: Any) -> str:
    """`frame` (an object with a `type`) as the text that goes out."""
    return _encoder.encode(frame).decode()


def answer(kind: str, request_id: str | None, fields: dict[str, Any]) -> str:
    """An `ack`, `pong` or `error`, with the `id` of its request where that had one."""
    frame: dict[str, Any] = {"type": kind}
    if request_id is not None:
        frame["id"] = request_id
    frame.update(fields)
    return encode(frame)


def pong(request_id: str | None) -> str:
    """The answer to `ping`."""
    return answer("pong", request_id, {"server_time": wire(now())})


def error_frame(error: OvaraError, request_id: str | None) -> str:
    """The `error` frame for `error`."""
    fields: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.retry_after is not None:
        fields["retry_after"] = round(error.retry_after, 3)
    return answer("error", request_id, fields)


def disconnect_frame(code: int, reason: str, reconnect: bool, retry_after: float | None) -> str:
    """The last frame before the server closes."""
    frame: dict[str, Any] = {
        "type": "disconnect",
        "code": int(code),
        "reason": reason,
        "reconnect": reconnect,
    }
    if retry_after is not None:
        frame["retry_after"] = round(retry_after, 3)
    return encode(frame)

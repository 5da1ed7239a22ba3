"""The frames of protocol version 1: decode and validate in one pass, encode.

docs/protocol.md is the contract. A frame type is the name of a handler in `handlers.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from connections.malformed import (
    REQUEST_ID_MAX_LENGTH,
    UNDECODABLE,
    check_sizes,
    explain,
    raise_if_too_large,
)
from ovara.errors import Invalid, OvaraError
from ovara.ids import UUID_PATTERN
from ovara.times import wire_now
from sessions_app.validation import (
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
Token = Annotated[str, Meta(min_length=1, max_length=REQUEST_ID_MAX_LENGTH)]
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

    def check(self) -> None:
        check_text(self.token, "token")


class Ping(Request, tag="ping"):
    pass


class Join(ConversationRequest, tag="join", kw_only=True):
    since: Integer | None = None
    epoch: Token | None = None

    def check(self) -> None:
        check_text(self.epoch or "", "epoch")


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
        check_sizes(state=self.state)
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


class Pong(msgspec.Struct, tag_field="type", tag="pong", kw_only=True, omit_defaults=True):
    """The answer to `ping`, of which there are many."""

    id: str | None = None
    server_time: str


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
    except UNDECODABLE as error:
        raise_if_too_large(text)
        raise Invalid(explain(error, text)) from None
    request.check()
    if request.id is not None:
        check_text(request.id, "id")
    return request


def encode(frame: Any) -> str:
    """`frame` (an object with a `type`) as the text that goes out."""
    return _encoder.encode(frame).decode()


def answer(kind: str, request_id: str | None, fields: dict[str, Any]) -> str:
    """An `ack` or `error`, with the `id` of its request where that had one."""
    frame: dict[str, Any] = {"type": kind}
    if request_id is not None:
        frame["id"] = request_id
    frame.update(fields)
    return encode(frame)


def pong(request_id: str | None) -> str:
    """The answer to `ping`."""
    return encode(Pong(id=request_id, server_time=wire_now()))


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

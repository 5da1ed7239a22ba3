"""What can be said of a frame that is refused: why, and which request it was."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from ovara.errors import Invalid, TooLarge
from sessions_app.validation import CONTENT_MAX_LENGTH, JSON_MAX_BYTES, check_text

REQUEST_ID_MAX_LENGTH = 64

# What decoding a frame may raise.
UNDECODABLE = (msgspec.MsgspecError, UnicodeEncodeError, RecursionError)

_encoder = msgspec.json.Encoder()
_escaped_surrogate = re.compile(r"\\u[dD][89a-fA-F]")


def explain(error: Exception, text: str) -> str:
    """What is wrong with a frame, in words that repeat nothing of it."""
    if isinstance(error, UnicodeEncodeError) or _has_lone_surrogate(error, text):
        return "The frame has a lone surrogate."
    if isinstance(error, RecursionError):
        return "The frame is nested too deeply."
    words = str(error)
    if words.startswith("Invalid value"):
        return "Unknown type of frame - at `$.type`"
    if "matching regex" in words:
        return "Expected a UUID, lower-case with hyphens - at `$.conversation_id`"
    return words


def raise_if_too_large(text: str) -> None:
    """Size comes before shape: look at the sized fields of a frame that is otherwise wrong."""
    frame = _loosely(text)
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
        if isinstance(value, dict) and value and _json_bytes(value) > JSON_MAX_BYTES:
            raise TooLarge(f"{name} is larger than {JSON_MAX_BYTES} bytes of JSON.")


def request_id_of(text: str) -> str | None:
    """The `id` of a frame that was refused, where it has a usable one."""
    try:
        value = msgspec.json.decode(text, type=_IdOnly).id
    except UNDECODABLE:
        frame = _loosely(text)
        value = frame.get("id") if isinstance(frame, dict) else None
    return value if isinstance(value, str) and _is_usable_id(value) else None


def _has_lone_surrogate(error: Exception, text: str) -> bool:
    """Whether JSON that is refused as malformed is well-formed but for that."""
    malformed = type(error) is msgspec.DecodeError and _escaped_surrogate.search(text) is not None
    return malformed and _loosely(text) is not None


class _IdOnly(msgspec.Struct):
    id: Any = None


def _is_usable_id(value: str) -> bool:
    try:
        check_text(value, "id")
    except Invalid:
        return False
    return 1 <= len(value) <= REQUEST_ID_MAX_LENGTH


def _loosely(text: str) -> Any:
    """What can be read of a frame that msgspec refuses; None where it is no JSON at all."""
    try:
        # This one takes lone surrogates, and numbers of any length.
        return json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _json_bytes(value: dict[str, Any]) -> int:
    try:
        return len(_encoder.encode(value))
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return len(text.encode("utf-8", "surrogatepass"))

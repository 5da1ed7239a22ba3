"""What may be stored, checked the same for REST, frames and server code."""

from __future__ import annotations

from typing import Any

import msgspec

from ovara.errors import Invalid, TooLarge
from sessions_app.models import CLIENT_MESSAGE_ID_MAX_LENGTH

CONTENT_MAX_LENGTH = 32_768  # code points
JSON_MAX_BYTES = 16 * 1024  # compact JSON in UTF-8
JSON_MAX_DEPTH = 32
# What JavaScript, and so every client, can hold exactly.
MAX_INTEGER = 2**53 - 1


def check_content(content: str) -> None:
    """Raise TooLarge over 32,768 code points, Invalid where empty or not storable."""
    if len(content) > CONTENT_MAX_LENGTH:
        raise TooLarge(f"content is longer than {CONTENT_MAX_LENGTH} characters.")
    if not content:
        raise _invalid("content", "content must have at least 1 character.")
    check_text(content, "content")


def check_client_message_id(value: str) -> None:
    """Raise Invalid unless `value` is 1 to 64 storable characters."""
    if not 1 <= len(value) <= CLIENT_MESSAGE_ID_MAX_LENGTH:
        raise _invalid(
            "client_message_id",
            f"client_message_id must have 1 to {CLIENT_MESSAGE_ID_MAX_LENGTH} characters.",
        )
    check_text(value, "client_message_id")


def check_text(text: str, name: str) -> None:
    """Raise Invalid where `text` has a NUL (PostgreSQL refuses it) or a lone surrogate."""
    if "\x00" in text:
        raise _invalid(name, f"{name} must not contain NUL (U+0000).")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _invalid(name, f"{name} must not contain a lone surrogate.") from None


def check_json_object(value: dict[str, Any], name: str) -> None:
    """Raise TooLarge over 16 KiB of compact JSON, Invalid for what not every database can hold."""
    if not value:
        return
    _check_json(value, name, depth=1)
    if len(msgspec.json.encode(value)) > JSON_MAX_BYTES:
        raise TooLarge(f"{name} is larger than {JSON_MAX_BYTES} bytes of JSON.")


def _check_json(value: Any, name: str, *, depth: int) -> None:
    if depth > JSON_MAX_DEPTH and isinstance(value, dict | list):
        raise _invalid(name, f"{name} is nested deeper than {JSON_MAX_DEPTH} levels.")
    if isinstance(value, str):
        check_text(value, name)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, name)
            _check_json(item, name, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, name, depth=depth + 1)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise _invalid(name, f"{name} has an integer beyond 2^53-1: send it as text.")
    elif isinstance(value, float) and value - value != 0:
        raise _invalid(name, f"{name} has a number that JSON does not know.")


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: [message]})

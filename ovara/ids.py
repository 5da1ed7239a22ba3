"""Identifiers: time-ordered UUIDs, made in Python so that every database gets the same."""

from __future__ import annotations

import functools
import re
import uuid

import uuid_utils

UUID_PATTERN = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
# The ids of one batch, and of what comes next for the same people.
IDS_REMEMBERED = 4_096
_UUID = re.compile(UUID_PATTERN)


def new_id() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562): milliseconds first, so that keys are written in order."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def new_text_id() -> str:
    """The same as text."""
    return str(uuid_utils.uuid7())


@functools.lru_cache(IDS_REMEMBERED)
def key_of(text: str) -> uuid.UUID:
    """The UUID that `text` is. A batch has the same few in many places, and reading one is slow."""
    return uuid.UUID(text)


def is_id(text: str) -> bool:
    """Whether `text` is an id as the protocol writes it: lower-case, with hyphens."""
    return _UUID.match(text) is not None

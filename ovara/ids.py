"""Identifiers: time-ordered UUIDs, made in Python so that every database gets the same."""

from __future__ import annotations

import re
import uuid

import uuid_utils

UUID_PATTERN = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
_UUID = re.compile(UUID_PATTERN)


def new_id() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562): milliseconds first, so that keys are written in order."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def is_id(text: str) -> bool:
    """Whether `text` is an id as the protocol writes it: lower-case, with hyphens."""
    return _UUID.match(text) is not None

"""Why a connection ends, and whether its client should come back.

The range carries the advice (PROTOCOL: 4000 to 4499 come back, 4500 to 4999 stay away), so an old
client does right with a code it has never seen. A test compares this table with the browser's
(`frontend/static/frontend/ovara/close_codes.js`).
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Each close code of protocol version 1, with the words a client gets by default."""

    reason: str

    def __new__(cls, code: int, reason: str) -> CloseCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    # Done, by the client's own wish.
    NORMAL = (1000, "normal")
    # The token is missing, bad, expired or revoked; signed out; not authenticated in time.
    UNAUTHENTICATED = (4401, "a valid token is needed")
    # No frame for the idle timeout, or cleaned up as inactive.
    IDLE = (4408, "idle")
    # The server drains or restarts.
    DRAINING = (4412, "the server restarts")
    # The node is full, or this client reads too slowly.
    OVERLOADED = (4413, "overloaded")
    # Too many frames, or too many handshakes.
    FLOOD = (4429, "too many requests")
    # Frames that no client of this protocol would send.
    PROTOCOL = (4500, "protocol violated")
    # This client id belongs to another user.
    FORBIDDEN = (4503, "this client belongs to another user")
    # Too many connections of this client, user or address.
    TOO_MANY = (4509, "too many connections")
    # An administrator ended it.
    DISCONNECTED = (4510, "disconnected by an administrator")
    # A frame was larger than `max_frame_bytes`.
    FRAME_TOO_LARGE = (4511, "frame too large")


# Codes below 4000 after which a client stays away; every other one below 4000 says come back.
STAY_AWAY_BELOW_4000 = frozenset({1000, 1009})
FIRST_STAY_AWAY = 4500


# What a close frame has room for; RFC 6455, 5.5.
CLOSE_REASON_MAX_BYTES = 123


def check_close_code(code: int) -> None:
    """Raise ValueError for a code that a server may not close with (RFC 6455, 7.4)."""
    if code != CloseCode.NORMAL and not 3000 <= code <= 4999:
        raise ValueError(f"{code} is no close code for a server: use 1000, or one of 3000 to 4999.")


def short_reason(reason: str) -> str:
    """As much of `reason` as a close frame has room for."""
    return reason.encode()[:CLOSE_REASON_MAX_BYTES].decode(errors="ignore")


def should_reconnect(code: int) -> bool:
    """Whether a client that saw `code` comes back (after a new token, for 4401)."""
    if code < 4000:
        return code not in STAY_AWAY_BELOW_4000
    return code < FIRST_STAY_AWAY


def default_reason(code: int) -> str:
    """The words for `code`; empty for one that is not in the table."""
    return next((known.reason for known in CloseCode if known == code), "")


def close_label(code: int) -> str:
    """`code` as a metric's label: clients choose theirs freely, and labels must stay few."""
    known = default_reason(code) or code in _SEEN_WITHOUT_OURS
    return str(int(code)) if known else "other"


# RFC 6455, 7.4.1, and what stands for an end without a close frame.
_SEEN_WITHOUT_OURS = frozenset({1001, 1005, 1006, 1011, 1012, 1013})

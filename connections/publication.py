"""What is delivered: encoded once, addressed to an audience, carried between nodes as it is."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from connections.protocol import encode

AudienceKind = Literal["connection", "client", "user", "conversation"]


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One frame for every connection of an audience.

    `text` is the final JSON. `exclude` is a connection that does not get it (its sender),
    `exclude_user` a user none of whose connections do. `sequence` is a message's, so that a
    connection that has it by its `join` does not get it twice; 0 for every other frame.
    """

    kind: AudienceKind
    target: str
    frame_type: str
    text: str
    exclude: str = ""
    exclude_user: str = ""
    sequence: int = 0
    droppable: bool = False

    @property
    def group(self) -> str:
        """The channel group whose nodes have such connections."""
        return group_name(self.kind, self.target)


def group_name(kind: str, target: str) -> str:
    """The one place that names groups: `conversation.<id>`, `user.<id>`, `node.<id>` …"""
    return f"{kind}.{target}"


# Frames whose loss harms nobody for long: the first to go where a connection reads slowly.
DROPPABLE = frozenset({"typing", "presence", "user_joined", "user_left"})


# The types that this protocol knows; server code's own are counted together, as "other".
SERVER_TYPES = DROPPABLE | {
    "client_connections",
    "conversation_added",
    "conversation_removed",
    "conversation_updated",
    "message",
    "notification",
    "read",
    "resync",
    "state",
    "token_expiring",
}


def publication(
    kind: AudienceKind,
    target: str,
    frame: dict[str, Any],
    *,
    exclude: str | None = None,
    exclude_user: str | None = None,
    sequence: int = 0,
) -> Publication:
    """A publication of `frame`.

    Raises:
        ValueError: `frame` has no `type`.
    """
    frame_type = frame.get("type")
    if not isinstance(frame_type, str) or not frame_type:
        raise ValueError("A frame is an object with a `type`, a text of your own choosing.")
    return Publication(
        kind=kind,
        target=target,
        frame_type=frame_type if frame_type in SERVER_TYPES else "other",
        text=encode(frame),
        exclude=exclude or "",
        exclude_user=exclude_user or "",
        sequence=sequence,
        droppable=frame_type in DROPPABLE,
    )

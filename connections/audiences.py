"""Who of this process belongs to which audience: a client, a user, or a conversation's members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connections.hub import ConnectionInfo


class Audiences(Mapping[str, Mapping[str, "ConnectionInfo"]]):
    """Ids of audiences to their connections, by these' ids. Every step is O(1).

    Most audiences of a node are one connection, which is kept as it is then: with a dict for each
    of the three that it belongs to, it would cost half a kilobyte more.
    """

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[str, ConnectionInfo | dict[str, ConnectionInfo]] = {}

    def put(self, key: str, connection: ConnectionInfo) -> bool:
        """Add a connection; whether it is the first of its audience."""
        members = self._members.get(key)
        if members is None:
            self._members[key] = connection
            return True
        if isinstance(members, dict):
            members[connection.connection_id] = connection
        elif members is not connection:
            self._members[key] = {one.connection_id: one for one in (members, connection)}
        return False

    def take(self, key: str, connection_id: str) -> bool:
        """Remove a connection, and its audience with the last; whether it was the last."""
        members = self._members.get(key)
        if isinstance(members, dict):
            if members.pop(connection_id, None) is not None and len(members) == 1:
                (self._members[key],) = members.values()
            return False
        if members is None or members.connection_id != connection_id:
            return False
        del self._members[key]
        return True

    def members(self, key: str) -> Sequence[ConnectionInfo]:
        """The connections of an audience, as they are now."""
        members = self._members.get(key)
        if isinstance(members, dict):
            return list(members.values())
        return () if members is None else (members,)

    # To look at, when debugging.

    def __getitem__(self, key: str) -> Mapping[str, ConnectionInfo]:
        members = self._members[key]
        return dict(members) if isinstance(members, dict) else {members.connection_id: members}

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

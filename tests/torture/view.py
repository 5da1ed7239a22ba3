"""What one client knows of one conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Message = dict[str, Any]


class View:
    """The conversation's messages as they reached this client, in sequence, none left out.

    Args:
        fault: called with words for whatever may never happen.
        strict: whether live messages must come without a gap.
    """

    def __init__(self, conversation_id: str, fault: Callable[[str], None], *, strict: bool) -> None:
        self.conversation_id = conversation_id
        self.epoch: str | None = None
        # What was handed on; the message at place n has the sequence n + 1.
        self.messages: list[Message] = []
        # The newest sequence known to exist.
        self.newest = 0
        self._fault = fault
        self._strict = strict
        self._held: dict[int, Message] = {}
        # The sequence up to which this connection was told everything; None: it has not joined.
        self._told: int | None = None

    @property
    def position(self) -> int:
        return len(self.messages)

    @property
    def is_joined(self) -> bool:
        """Whether messages come live now."""
        return self._told is not None

    @property
    def is_behind(self) -> bool:
        return self.position < self.newest

    @property
    def join_fields(self) -> dict[str, Any]:
        return {"conversation_id": self.conversation_id, "since": self.position} | (
            {"epoch": self.epoch} if self.epoch else {}
        )

    def lost(self) -> None:
        """The connection has ended."""
        self._told = None

    def joined(self, ack: dict[str, Any], since: int) -> None:
        """The answer to a `join` that knew everything up to `since`."""
        if self.epoch not in {None, ack["epoch"]}:
            self._complain(f"the epoch changed from {self.epoch} to {ack['epoch']}")
        self.epoch = ack["epoch"]
        if not ack["recovered"] or ack["sequence"] < since:
            self._complain(f"not recovered since {since}: the newest is {ack['sequence']}")
        sequences = [message["sequence"] for message in ack["messages"]]
        end = since + len(sequences)
        if sequences != list(range(since + 1, end + 1)):
            self._complain(f"the join since {since} brought {sequences}")
        if ack["has_more"] != (end < ack["sequence"]):
            self._complain(f"has_more is {ack['has_more']} at {end} of {ack['sequence']}")
        self._told = ack["sequence"]
        self.newest = max(self.newest, ack["sequence"])
        self.keep(ack["messages"])

    def live(self, message: Message) -> None:
        """A `message` frame, or the first ack of an own message."""
        sequence = message["sequence"]
        if self._told is None:
            self._complain(f"{sequence} came live before the join was answered")
        elif self._strict and sequence != self._told + 1:
            self._complain(f"{sequence} came live after {self._told}")
        self._told = max(self._told or 0, sequence)
        self.keep([message])

    def keep(self, messages: Iterable[Message]) -> None:
        """Messages from wherever; a sequence that is known must be the same message."""
        for message in messages:
            sequence = message["sequence"]
            self.newest = max(self.newest, sequence)
            known = self._known(sequence)
            if known is None:
                self._held[sequence] = message
            elif known != message:
                self._complain(f"{sequence} was {known}, and came again as {message}")
        while (following := self._held.pop(self.position + 1, None)) is not None:
            self.messages.append(following)

    def _known(self, sequence: int) -> Message | None:
        if sequence <= self.position:
            return self.messages[sequence - 1]
        return self._held.get(sequence)

    def _complain(self, words: str) -> None:
        self._fault(f"conversation {self.conversation_id}: {words}")

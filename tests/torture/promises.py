"""What a client was promised, and what all clients of a run did."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.torture.link import Frame
from tests.torture.view import Message


@dataclass(eq=False)
class Entry:
    """An own message; `acks` are all the answers that promised it."""

    conversation_id: str
    client_message_id: str
    content: str
    acks: list[Message] = field(default_factory=list)
    # How many of them said that it was not stored before.
    first_acks: int = 0
    # Another tab sent it too, or it was refused once: others may have overtaken it.
    unordered: bool = False

    @property
    def frame(self) -> Frame:
        return {
            "type": "message",
            "conversation_id": self.conversation_id,
            "client_message_id": self.client_message_id,
            "content": self.content,
        }


@dataclass
class Tally:
    """What the clients of a run did, together."""

    acknowledged: int = 0
    duplicates: int = 0
    connections: int = 0
    recovered: int = 0
    gaps: int = 0
    faults: list[str] = field(default_factory=list)

"""What this app wants others to know. It imports nobody who listens.

`message_appended` is for application code: an agent, a search index, a notifier. Its receivers may
be coroutines; they run in the background, after the acknowledgement, in the process that stored the
message (so once in a whole cluster), and an error of theirs is logged.

All others are for delivery: sent in the thread that made the change, right after it is committed.
Their receivers must be plain functions that neither wait nor fail.
"""

from __future__ import annotations

from django.dispatch import Signal

# message: MessageRecord. sender of the signal: the Message model.
message_appended = Signal()

# message: MessageRecord, origin: str | None (the connection that sent it). In commit order, before
# the acknowledgement. The receivers are remembered: it is sent with every message.
message_committed = Signal(use_caching=True)

# conversation_id: str. A message may have been stored there that nobody was told of.
conversation_in_doubt = Signal()

# conversation_id: str. Its title changed.
conversation_changed = Signal()

# conversation_id: str, user_id: str
participant_added = Signal()

# conversation_id: str, user_id: str
participant_removed = Signal()

# conversation_id: str, user: UserRef, sequence: int, origin: str | None. Only when it moved.
read_moved = Signal()

# client_id: str, state: dict, origin: str | None
session_state_changed = Signal()

"""The journal against a simple model: several writers with connections of their own write at the
same moment, clients repeat themselves, the cached sequences are behind; each message is stored
once, at the next place of its conversation."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ovara.accounts.models import User
from ovara.errors import NotFound
from ovara.group_commit import GroupCommit
from ovara.turns import in_turn
from sessions_app.batches import Appended, Draft, write_batch
from sessions_app.models import Conversation, Message
from sessions_app.records import MessageRecord, UserRef, records_of
from sessions_app.services import conversation_create
from tests.durability.profiles import stateful

WRITERS, TALKS = 3, 2
Key = tuple[str, str | None, str]  # conversation id, sender id, client_message_id

# Who writes (None: server code; 2 has no part in it), where (2 is nowhere), and which of few ids.
drafts = st.tuples(
    st.sampled_from([None, 0, 1, 2]), st.sampled_from([0, 0, 0, 1, 1, 2]), st.integers(0, 9)
)
batches = st.lists(drafts, max_size=5)


class Writer:
    """A process's journal, as far as the database is concerned: a thread and a connection.

    Up to the `gate` items gather.
    """

    def __init__(self, number: int) -> None:
        self.gate = threading.Event()
        self.queue = GroupCommit(f"writer {number}", self._write, max_batch=100)

    def _write(self, items: Sequence[Draft]) -> list[Appended | Exception]:
        assert self.gate.wait(20)
        return _write(items)


_write = in_turn(write_batch)


class JournalMachine(RuleBasedStateMachine):
    """`stored`: what was promised, by its key; `talks`: the same in the order of sequences."""

    writers: list[Writer] = []

    def __init__(self) -> None:
        super().__init__()
        people = list(User.objects.order_by("username"))
        self.people = [UserRef(str(one.pk), one.username) for one in people]
        self.talks = [
            str(conversation_create(owner=people[0], usernames=[people[1].username]).pk)
            for _ in range(TALKS)
        ]
        self.stored: dict[Key, MessageRecord] = {}

    def teardown(self) -> None:
        Message.objects.all().delete()
        Conversation.objects.all().delete()

    @rule(wanted=st.lists(batches, min_size=1, max_size=WRITERS))
    def writers_write_at_once(self, wanted: list[list[tuple[int | None, int, int]]]) -> None:
        plan = [
            (writer, [self.draft(*one) for one in some])
            for writer, some in zip(self.writers, wanted, strict=False)
        ]
        for writer, _ in plan:
            writer.gate.clear()
        asked = [(some, [writer.queue.submit(draft) for draft in some]) for writer, some in plan]
        for writer, _ in plan:
            writer.gate.set()
        for some, futures in asked:
            newest: dict[str, int] = {}
            for draft, future in zip(some, futures, strict=True):
                self.check(draft, future, newest)

    @rule(talk=st.integers(0, TALKS - 1), behind=st.integers(1, 3))
    def a_cache_falls_behind(self, talk: int, behind: int) -> None:
        """As where a write was cut in half, on a database without transactions."""
        row = Conversation.objects.get(pk=self.talks[talk])
        row.last_sequence = max(0, row.last_sequence - behind)
        row.save()

    @invariant()
    def every_promise_is_kept_once_and_in_one_order(self) -> None:
        rows = records_of(Message.objects.order_by("conversation_id", "sequence"))
        for talk in self.talks:
            sequences = [row.sequence for row in rows if row.conversation_id == talk]
            assert sequences == list(range(1, len(sequences) + 1))
        assert {(row.conversation_id, row.sequence): row for row in rows} == {
            (row.conversation_id, row.sequence): row for row in self.stored.values()
        }

    def draft(self, who: int | None, where: int, number: int) -> Draft:
        talk = self.talks[where] if where < TALKS else str(uuid.UUID(int=0))
        sender = None if who is None else self.people[who]
        content = uuid.uuid4().hex  # a repeat's is another: the first one counts
        asks = sender is not None
        return Draft(talk, content, "user", sender, f"{number}", require_participant=asks)

    def check(self, draft: Draft, future: Future[Appended], newest: dict[str, int]) -> None:
        """One answer; `newest`: the sequences that this writer has given out in this batch."""
        has_part = draft.sender is None or draft.sender in self.people[:2]
        if draft.conversation_id not in self.talks or not has_part:
            assert isinstance(future.exception(20), NotFound)
            return
        appended = future.result(20)
        message, key = appended.message, draft.repeat_key
        if not appended.duplicate:
            assert message.content == draft.content
            assert message.sequence > newest.get(draft.conversation_id, 0)
            newest[draft.conversation_id] = message.sequence
            # An answer that another writer gave for the same key was read first: a duplicate.
            assert self.stored.get(key, message) == message
        assert self.stored.setdefault(key, message) == message


def test_whoever_writes_each_message_is_stored_once_at_the_next_place(
    transactional_db: None,
) -> None:
    for number in range(3):
        User.objects.create(username=f"person-{number}")
    JournalMachine.writers = [Writer(number) for number in range(WRITERS)]
    try:
        run_state_machine_as_test(JournalMachine, settings=stateful(examples=15, steps=12))
    finally:
        for writer in JournalMachine.writers:
            writer.gate.set()
            assert writer.queue.close()

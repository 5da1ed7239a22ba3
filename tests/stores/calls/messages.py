"""What the journal and the notes write, and the changes of a conversation."""

from __future__ import annotations

from itertools import count as numbers

from sessions_app import journal, notes, services
from sessions_app.batches import Draft
from sessions_app.models import Conversation, Participant
from tests.stores.calls.calls import Calls, good, of_alice, ref
from tests.support.crowd import Crowd

CALLS = Calls()
_numbers = numbers(1)


def drafts(crowd: Crowd, count: int) -> list[Draft]:
    sender = ref(crowd.alice)
    return [
        Draft(one, "text", "user", sender, f"new{next(_numbers)}") for one in of_alice(crowd, count)
    ]


@CALLS
def message(crowd: Crowd) -> None:
    sender = ref(crowd.alice)
    good(journal.write_batch([Draft(crowd.giant, "text", "user", sender, f"new{next(_numbers)}")]))


@CALLS
def messages_in_many(crowd: Crowd) -> None:
    good(journal.write_batch(drafts(crowd, 100)))


@CALLS
def messages_of_many_in_many(crowd: Crowd) -> None:
    parts = Participant.objects.select_related("user").order_by("-pk")[:100]
    good(
        journal.write_batch(
            [
                Draft(str(one.conversation_id), "x", "user", ref(one.user), f"new{next(_numbers)}")
                for one in parts
            ]
        )
    )


@CALLS
def message_again(crowd: Crowd) -> None:
    draft = Draft(crowd.giant, "text", "user", ref(crowd.alice), f"new{next(_numbers)}")
    again = Draft(crowd.giant, "text", "user", draft.sender, draft.client_message_id)
    good(journal.write_batch([draft]))
    good(journal.write_batch([again]))


@CALLS
def messages_again_in_many(crowd: Crowd) -> None:
    first = drafts(crowd, 100)
    good(journal.write_batch(first))
    again = [
        Draft(one.conversation_id, "text", "user", one.sender, one.client_message_id)
        for one in first
    ]
    good(journal.write_batch(again))


@CALLS
def message_of_the_server_again(crowd: Crowd) -> None:
    key = f"new{next(_numbers)}"
    for _ in range(2):
        good(journal.write_batch([Draft(crowd.giant, "x", "system", None, key, {}, False)]))


@CALLS
def read_and_state(crowd: Crowd) -> None:
    move = notes.MoveRead(crowd.giant, str(crowd.alice.pk), crowd.giant_length)
    good(notes.write_batch([move, notes.ReplaceState(crowd.session, {"draft": "x"})]))


@CALLS
def conversation_changes(crowd: Crowd) -> None:
    bob, carol = crowd.bob.username, crowd.carol.username
    made = services.conversation_create(owner=crowd.alice, usernames=[bob])
    services.participant_add(conversation=made, username=carol, actor=crowd.alice)
    services.participant_remove(conversation=made, username=carol, actor=crowd.alice)
    talk = Conversation.objects.get(pk=crowd.talk)
    services.conversation_rename(conversation=talk, title="New", actor=crowd.alice)

"""Conversations of uneven sizes: a quarter of all messages are in a few giants, a quarter in the
many small ones. Messages are written in the order of their times, so that one conversation's lie
scattered, as they do in life."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import accumulate

from ovara.accounts.models import User
from sessions_app.models import Conversation, Message, Participant
from tests.support.crowd.bulk import Row, insert
from tests.support.crowd.times import Chance

# Of 2,000 conversations: how many share the first, second and third quarter of the messages.
QUARTERS, OF_CONVERSATIONS = (1, 10, 200), 2_000
PARTICIPANTS, OF_GIANTS = 3, 200
# Conversations that the first user has a part in, and owns.
OF_FIRST = 200
# One participant in so many has read nothing.
NEVER_READ = 10
# One message in so many has the rare word.
RARE, RARE_EVERY = "zebra", 10_000
WORDS = ("the", "of", "a", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are")
WORDS_A_MESSAGE = 20


class Talk:
    """Fills conversations, participants and messages. The longest conversations come first."""

    def __init__(self, chance: Chance, users: Sequence[User], messages: int, count: int) -> None:
        self.chance = chance
        self.users = users
        self.giants = _share(count, QUARTERS[0])
        self.last_of_first = min(OF_FIRST, count) - 1
        self.lengths = list(_lengths(messages, count))
        self.keys = [chance.key(chance.start) for _ in self.lengths]
        self.members = [self._members(place) for place in range(count)]

    def _members(self, place: int) -> list[User]:
        first, *others = self.users
        count = min(OF_GIANTS if place < self.giants else PARTICIPANTS, len(others))
        found = self.chance.sample(others, count)
        return [first, *found[1:]] if place < OF_FIRST else found

    def fill(self) -> None:
        order = [place for place, length in enumerate(self.lengths) for _ in range(length)]
        self.chance.shuffle(order)
        insert(Conversation, self._conversations(order))
        insert(Participant, self._parts())
        insert(Message, self._messages(order))

    def _conversations(self, order: Sequence[int]) -> Iterator[Row]:
        step = (self.chance.end - self.chance.start) / len(order)
        newest = {place: self.chance.start + number * step for number, place in enumerate(order)}
        for place, key in enumerate(self.keys):
            yield {
                "id": key,
                "epoch": key.hex[-16:],
                "title": f"Talk {place}",
                "created_by_id": self.members[place][0].pk,
                "last_sequence": self.lengths[place],
                "created_at": self.chance.start,
                "updated_at": newest[place],
            }

    def _parts(self) -> Iterator[Row]:
        for place, key in enumerate(self.keys):
            length = self.lengths[place]
            for number, user in enumerate(self.members[place]):
                reads = user is self.users[0] or not self.chance.one_in(NEVER_READ)
                yield {
                    "id": self.chance.key(self.chance.start),
                    "conversation_id": key,
                    "user_id": user.pk,
                    "role": "member" if number else "owner",
                    "last_read_sequence": max(0, length - self.chance.randrange(6)) * reads,
                    "joined_at": self.chance.start,
                }

    def _messages(self, order: Sequence[int]) -> Iterator[Row]:
        step = (self.chance.end - self.chance.start) / len(order)
        last = [0] * len(self.keys)
        for number, place in enumerate(order):
            moment = self.chance.start + number * step
            last[place] += 1
            words = self.chance.choices(WORDS, k=WORDS_A_MESSAGE)
            key = self.chance.key(moment)
            yield {
                "id": key,
                "conversation_id": self.keys[place],
                "sequence": last[place],
                "role": "user",
                "sender_id": self.chance.choice(self.members[place]).pk,
                "content": " ".join(words if number % RARE_EVERY else [*words, RARE]),
                "metadata": "{}",
                "client_message_id": key.hex,
                "status": "complete",
                "created_at": moment,
            }

    def of_users(self) -> dict[uuid.UUID, list[int]]:
        """The places of the conversations that each user has a part in."""
        found: dict[uuid.UUID, list[int]] = {user.pk: [] for user in self.users}
        for place, who in enumerate(self.members):
            for user in who:
                found[user.pk].append(place)
        return found


def _lengths(messages: int, count: int) -> Iterator[int]:
    bounds = list(accumulate(_share(count, part) for part in QUARTERS))
    for begin, end in zip([0, *bounds], [*bounds, count], strict=True):
        for _ in range(begin, end):
            yield max(1, messages // (len(QUARTERS) + 1) // (end - begin))


def _share(count: int, part: int) -> int:
    return max(1, count * part // OF_CONVERSATIONS)

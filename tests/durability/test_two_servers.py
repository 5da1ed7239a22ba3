"""Two servers on one database, each killed now and then, are sent the same messages at the same
moment: each message has one place, and none is missing."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed

from sessions_app.models import Conversation
from tests.conftest import GRACE_SECONDS, ServerWith
from tests.stores.writers import POSTERS, side_by_side
from tests.support.client import WireClient
from tests.support.database import Account, Database
from tests.support.rest import rest_client
from tests.support.server import ServerProcess

Frame = dict[str, Any]

ROUNDS, MESSAGES_A_ROUND, SENDERS = 6, 25, 4
# A killed server's client is told at once; this is for one that never answers.
ANSWER_SECONDS = 60.0
QUICK = {
    "OVARA_FRAMES_PER_SECOND": "100000",
    "OVARA_FRAME_BURST": "100000",
    "OVARA_PRESENCE_GRACE_SECONDS": str(GRACE_SECONDS),
}


class Sender:
    """A user with a tab on each server. `answers`: client_message_id → all acks for it; `acks` is
    released with each."""

    def __init__(self, account: Account, conversation_id: str) -> None:
        self.account = account
        self.conversation_id = conversation_id
        self.acks = asyncio.Semaphore(0)
        self.answers: dict[str, list[Frame]] = defaultdict(list)
        self.cut_off = 0

    async def send_all(self, tabs: Sequence[WireClient], names: Sequence[str]) -> None:
        """Each message from every tab, without waiting for the ack of the one before."""
        await asyncio.gather(*(self._send(tab, name) for name in names for tab in tabs))

    async def _send(self, tab: WireClient, name: str) -> None:
        frame = {
            "type": "message",
            "conversation_id": self.conversation_id,
            "content": f"{name} of {self.account.username}",
            "client_message_id": name,
        }
        try:
            answer = await tab.request(frame, timeout=ANSWER_SECONDS)
        except (ConnectionClosed, AssertionError):
            assert tab.socket.close_code is not None, "a living server gave no answer"
            self.cut_off += 1
            return
        assert answer["type"] == "ack", answer
        self.answers[name].append(answer)
        self.acks.release()


@asynccontextmanager
async def tabs_of(
    senders: Sequence[Sender], servers: Sequence[ServerProcess]
) -> AsyncIterator[list[list[WireClient]]]:
    """For each sender a tab on each server."""
    async with AsyncExitStack() as stack:
        yield [
            [
                await stack.enter_async_context(await WireClient.connect(server, sender.account))
                for server in servers
            ]
            for sender in senders
        ]


async def stored_messages(
    server: ServerProcess, account: Account, conversation_id: str
) -> list[Frame]:
    messages: list[Frame] = []
    async with rest_client(server, account) as rest:
        while True:
            page = (
                await rest.get(
                    f"/api/conversations/{conversation_id}/messages",
                    params={"after": len(messages), "limit": 200},
                )
            ).json()
            messages += page["messages"]
            if not page["has_more"]:
                return messages


async def test_what_is_sent_to_two_servers_at_once_is_stored_once_though_they_are_killed(
    server_with: ServerWith, make_conversation: Callable[..., Awaitable[str]]
) -> None:
    first = server_with(**QUICK)
    servers = [first, server_with(database=first.database, **QUICK)]
    accounts = [first.make_user() for _ in range(SENDERS)]
    talk = await make_conversation(first, *accounts)
    senders = [Sender(account, talk) for account in accounts]
    names = (f"message {number}" for number in itertools.count())
    cut_off = 0
    for round_ in range(ROUNDS):
        wanted = list(itertools.islice(names, MESSAGES_A_ROUND))
        doomed = servers[round_ % 2]
        acks = asyncio.Semaphore(0)
        async with tabs_of(senders, servers) as tabs, asyncio.TaskGroup() as group:
            for sender, own in zip(senders, tabs, strict=True):
                sender.acks, sender.cut_off = acks, 0
                group.create_task(sender.send_all(own, wanted))
            for _ in range(random.randint(1, 2 * MESSAGES_A_ROUND)):
                await acks.acquire()
            await asyncio.to_thread(doomed.kill)
        await asyncio.to_thread(doomed.start)
        cut_off += sum(sender.cut_off for sender in senders)
        # Whoever was cut off sends again, to both.
        async with tabs_of(senders, servers) as tabs:
            pairs = zip(senders, tabs, strict=True)
            await asyncio.gather(*(sender.send_all(own, wanted) for sender, own in pairs))

    # On a busy machine a round's server may have answered everything before it is killed.
    assert cut_off, "each was killed too late"
    stored = await stored_messages(first, accounts[0], talk)
    assert [message["sequence"] for message in stored] == list(range(1, len(stored) + 1))
    assert len(stored) == ROUNDS * MESSAGES_A_ROUND * SENDERS
    by_key = {(one["sender"]["id"], one["client_message_id"]): one for one in stored}
    assert len(by_key) == len(stored)
    for sender in senders:
        for name, answers in sender.answers.items():
            # One was the first, unless it was lost with its server; all say the same.
            assert Counter("duplicate" in answer for answer in answers)[False] <= 1
            kept = by_key[sender.account.id, name]
            assert all(answer["message"] == kept for answer in answers)


def test_what_processes_post_by_themselves_under_one_name_is_stored_once(
    database_template: Database, tmp_path: Path
) -> None:
    """Server code's own posts, which have no sender: the same ones, in the same order."""
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    talk = Conversation()
    database.run(lambda alias: talk.save(using=alias))
    told = side_by_side(POSTERS, database, [(str(talk.pk),)] * 3)
    names = {name for one in told for name, _, _ in one}
    places = {(name, sequence) for one in told for name, sequence, _ in one}
    assert sorted(sequence for _, sequence in places) == list(range(1, len(names) + 1))
    # Of all who posted it, exactly one was the first.
    first = Counter(name for one in told for name, _, is_duplicate in one if not is_duplicate)
    assert first == Counter(names)

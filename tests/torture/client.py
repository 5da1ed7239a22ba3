"""A client that writes, reads, is cut off and comes back, as the browser's library does."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Sequence

from websockets.exceptions import ConnectionClosed

from tests.torture.link import Frame, Link, Lost, connected
from tests.torture.promises import Entry, Tally
from tests.torture.view import View

# Own messages of one conversation that are on their way at a time.
BURST = 4
# What a client does beside writing, each after so many of its messages on average.
ONE_IN = {"echo": 10, "repeat": 15, "read": 10, "typing": 10, "history": 20, "presence": 30}
GAP_SECONDS = 0.2
RETRY_SECONDS = 0.2


class TortureClient:
    """One tab of a user, with a client id of its own, in some conversations.

    Args:
        addresses: the WebSocket addresses of all nodes; any will do.
        client_id: its own, kept for all its connections.
        conversation_ids: where it talks.
        strict: see `View`.
    """

    def __init__(
        self,
        name: str,
        *,
        addresses: Sequence[str],
        token: str,
        client_id: str,
        user_id: str,
        conversation_ids: Sequence[str],
        seed: int,
        tally: Tally,
        strict: bool,
    ) -> None:
        self.name = name
        self.user_id = user_id
        self.client_id = client_id
        self.tally = tally
        # The user's other tab.
        self.twin: TortureClient | None = None
        self.connection_id = ""
        self.writing = True
        # Conversation id → the greatest read position that was acknowledged.
        self.read: dict[str, int] = {}
        self.views = {key: View(key, self.fault, strict=strict) for key in conversation_ids}
        self.outbox: dict[str, deque[Entry]] = {key: deque() for key in conversation_ids}
        self.acknowledged: list[Entry] = []
        self._addresses = addresses
        self._token = token
        self._rng = random.Random(f"{name} {seed}")
        self._numbers = itertools.count(1)
        self._link: Link | None = None
        # Conversations of which publications may have been lost.
        self._doubted: set[str] = set()
        self._behind = {key: asyncio.Event() for key in self.views}

    @property
    def is_calm(self) -> bool:
        """Joined everywhere, nothing on its way, and nothing known to be missing."""
        return not any(
            view.is_behind
            or not view.is_joined
            or self.outbox[view.conversation_id]
            or view.conversation_id in self._doubted
            for view in self.views.values()
        )

    def fault(self, words: str) -> None:
        """Note what may never happen."""
        self.tally.faults.append(f"{self.name}: {words}")

    async def run(self) -> None:
        """Connect, talk, come back, until cancelled."""
        while True:
            try:
                await self._connection()
            except* Lost:
                await asyncio.sleep(self._rng.uniform(0.02, 0.2))

    async def _connection(self) -> None:
        address = f"{self._rng.choice(self._addresses)}?client_id={self.client_id}"
        async with connected(address, self._token, self._on_frame, self.fault) as link:
            welcome = await link.first_frame()
            if welcome["type"] != "welcome":
                self._refused(welcome)
                raise Lost
            self.tally.connections += 1
            self.connection_id = welcome["connection_id"]
            self._link = link
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(link.read())
                    for view in self.views.values():
                        tasks.create_task(self._talk(link, view))
            finally:
                self._link = None
                for view in self.views.values():
                    view.lost()

    def _refused(self, frame: Frame) -> None:
        if not frame.get("reconnect"):
            self.fault(f"refused for good: {frame}")

    def _on_frame(self, frame: Frame) -> None:
        if frame["type"] == "message":
            view = self.views[frame["conversation_id"]]
            view.live(frame["message"])
        elif frame["type"] == "conversation_updated":
            view = self.views[frame["conversation_id"]]
            view.newest = max(view.newest, frame["last_sequence"])
        else:
            if frame["type"] == "resync":
                self._look_again(frame.get("conversation_id"))
            elif frame["type"] == "disconnect":
                self._refused(frame)
            return
        if view.is_behind:
            self._behind[view.conversation_id].set()

    def _look_again(self, conversation_id: str | None) -> None:
        for key, view in self.views.items():
            if conversation_id in {None, key} and view.is_joined:
                self._doubted.add(key)
                self._behind[key].set()

    async def _talk(self, link: Link, view: View) -> None:
        """Join, catch up, then write and watch for gaps, for as long as the connection lives."""
        since = view.position
        await self._join(link, view, since)
        await self._catch_up(link, view)
        self.tally.recovered += view.position - since
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write(link, view))
            tasks.create_task(self._fill_gaps(link, view))

    async def _join(self, link: Link, view: View, since: int) -> None:
        def answered(answer: Frame) -> None:
            if answer["type"] == "ack":
                view.joined(answer, since)

        while True:
            await link.ask({"type": "join"} | view.join_fields, answered)
            if view.is_joined:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _catch_up(self, link: Link, view: View) -> None:
        while view.is_behind or view.conversation_id in self._doubted:
            self._doubted.discard(view.conversation_id)
            page = {"conversation_id": view.conversation_id, "after": view.position}
            answer = await link.ask({"type": "history", "limit": 200} | page)
            view.keep(answer.get("messages", ()))

    async def _fill_gaps(self, link: Link, view: View) -> None:
        """What is missing for longer than frames overtake each other was lost on a bus."""
        behind = self._behind[view.conversation_id]
        while True:
            await behind.wait()
            behind.clear()
            await asyncio.sleep(GAP_SECONDS)
            if view.is_behind or view.conversation_id in self._doubted:
                self.tally.gaps += 1
                await self._catch_up(link, view)

    async def _write(self, link: Link, view: View) -> None:
        outbox = self.outbox[view.conversation_id]
        while True:
            while self.writing and len(outbox) < self._rng.randint(1, BURST):
                outbox.append(self._new_entry(view.conversation_id))
            async with asyncio.TaskGroup() as sends:
                for entry in outbox:
                    sends.create_task(self._send(link, entry))
            for entry in [entry for entry in outbox if entry.acks]:
                outbox.remove(entry)
                self.acknowledged.append(entry)
                self.tally.acknowledged += 1
            if self.writing:
                await self._do_something_else(link, view)
            await asyncio.sleep(self._rng.expovariate(20))

    def _new_entry(self, conversation_id: str) -> Entry:
        number = next(self._numbers)
        padding = "." * self._rng.choice((0, 10, 100, 5_000))
        return Entry(conversation_id, f"{self.name}-{number}", f"{number} of {self.name}{padding}")

    async def _send(self, link: Link, entry: Entry) -> None:
        """Send `entry`, sometimes from both tabs at once; an ack is noted in it."""
        twin = self.twin
        echoes = twin is not None and twin._hears(entry.conversation_id) and self._chance("echo")
        if twin is None or not echoes:
            await self._send_once(link, entry)
            return
        entry.unordered = True
        async with asyncio.TaskGroup() as sends:
            sends.create_task(self._send_once(link, entry))
            sends.create_task(twin._send_for_twin(entry))

    def _hears(self, conversation_id: str) -> bool:
        return self._link is not None and self.views[conversation_id].is_joined

    async def _send_for_twin(self, entry: Entry) -> None:
        try:
            if self._link is not None:
                await self._send_once(self._link, entry)
        except (Lost, ConnectionClosed):
            # This tab was cut off: no promise was made here.
            return

    async def _send_once(self, link: Link, entry: Entry) -> None:
        view = self.views[entry.conversation_id]

        def answered(answer: Frame) -> None:
            if answer["type"] != "ack":
                entry.unordered = True
                return
            message = answer["message"]
            if message["content"] != entry.content or message["sender"]["id"] != self.user_id:
                self.fault(f"{entry.client_message_id} was acknowledged as {message}")
            entry.acks.append(message)
            if answer.get("duplicate"):
                self.tally.duplicates += 1
                view.keep([message])
            else:
                entry.first_acks += 1
                view.live(message)

        await link.ask(entry.frame, answered)

    def _chance(self, what: str) -> bool:
        return self._rng.random() * ONE_IN[what] < 1

    async def _do_something_else(self, link: Link, view: View) -> None:
        about = {"conversation_id": view.conversation_id}
        if self._chance("repeat") and self.acknowledged:
            await self._send_once(link, self._rng.choice(self.acknowledged))
        if self._chance("read"):
            answer = await link.ask({"type": "read", "sequence": view.position} | about)
            known = self.read.get(view.conversation_id, 0)
            self.read[view.conversation_id] = max(known, answer.get("sequence", 0))
        if self._chance("typing"):
            await link.ask({"type": "typing", "is_typing": True} | about)
        if self._chance("history"):
            before = self._rng.randint(1, view.position + 1)
            answer = await link.ask({"type": "history", "before": before} | about)
            view.keep(answer.get("messages", ()))
        if self._chance("presence"):
            await link.ask({"type": "presence"} | about, self._check_presence)

    def _check_presence(self, answer: Frame) -> None:
        if answer["type"] == "ack":
            here = {user["user"]["id"]: user["connections"] for user in answer["users"]}
            if here.get(self.user_id, 0) < 1:
                self.fault(f"joined, and not present: {answer}")

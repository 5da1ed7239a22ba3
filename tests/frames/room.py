"""A conversation of many against what fan-out stands for: everybody gets everything at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from connections.frame_outbox import FrameOutbox, Turn
from connections.hub import ConnectionInfo, Hub
from connections.publication import publication
from connections.rounds import LARGE_AUDIENCE
from ovara.server.frames import text_frame
from sessions_app.records import UserRef
from tests.frames.transport import Transport
from tests.support.in_process import until

HERE = "01a204ff-b87e-7596-8aa3-a61245b618c3"
MEMBERS = LARGE_AUDIENCE + 8
MAX_OUTBOX_BYTES = 10_000_000


class Socket(Transport):
    """A member's end: also the frames that came, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.on_write: Callable[[], object] = lambda: None

    def write_frame(self, frame: bytes, /) -> None:
        super().write_frame(frame)
        self.on_write()
        while frame:
            size, head = frame[1], 2
            if size == 126:
                size, head = int.from_bytes(frame[2:4], "big"), 4
            self.frames.append(frame[: head + size])
            frame = frame[head + size :]

    def set_writable(self, is_writable: bool) -> None:
        self.is_writable = is_writable
        if is_writable and self.writing_resumed is not None:
            self.writing_resumed()


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Room:
    """A conversation of many, and what each member should have got."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.sequence = 0
        self.count = 0
        self.sockets = [Socket() for _ in range(MEMBERS)]
        self.expected: list[list[bytes]] = [[] for _ in range(MEMBERS)]
        self.members: list[ConnectionInfo] = []
        for number, socket in enumerate(self.sockets):
            outbox = FrameOutbox(socket, f"c{number}", MAX_OUTBOX_BYTES, self.overflow)
            # Two connections for each user.
            user = UserRef(f"u{number // 2}", "name")
            connection = ConnectionInfo(f"c{number}", outbox, user=user, authenticated=True)
            self.members.append(connection)
            self.hub.add(connection)
            self.join(number)

    def overflow(self, connection_id: str) -> None:
        raise AssertionError(connection_id)

    def text(self, size: int = 0) -> dict[str, Any]:
        self.count += 1
        return {"type": "message", "n": self.count, "text": "x" * size}

    def publish(self, *, stored: bool, size: int, but: int | None, but_user: int | None) -> None:
        self.sequence += stored
        item = publication(
            *("conversation", HERE, self.text(size)),
            exclude=None if but is None else f"c{but}",
            exclude_user=None if but_user is None else f"u{but_user // 2}",
            sequence=self.sequence if stored else 0,
        )
        for number, member in enumerate(self.members):
            is_excluded = number == but or (but_user is not None and number // 2 == but_user // 2)
            if HERE in member.joined and HERE not in member.joining and not is_excluded:
                self.expected[number].append(text_frame(item.text))
        self.hub.deliver(item)

    def send(self, number: int) -> None:
        """An answer to one of them."""
        item = publication("connection", f"c{number}", self.text())
        self.expected[number].append(text_frame(item.text))
        self.hub.deliver(item)

    def send_line(self, number: int) -> None:
        """A line of their list to a user."""
        item = publication("user", f"u{number // 2}", self.text())
        for other in (number - number % 2, number - number % 2 + 1):
            self.expected[other].append(text_frame(item.text))
        self.hub.deliver_line(item, HERE)

    def begin(self, number: int) -> None:
        """Somebody joins, perhaps again; what is published from now on waits."""
        self.hub.begin_join(self.members[number], HERE)

    def finish(self, number: int, *, fails: bool = False) -> None:
        """The answer to that, and what waited: all that the answer does not tell of itself."""
        member = self.members[number]
        if HERE not in member.joining:
            return
        if fails:
            waited = self.hub.abandon_join(member, HERE)
        else:
            waited = self.hub.finish_join(member, HERE, self.sequence) or []
        for item in waited:
            self.expected[number].append(text_frame(item.text))
            member.outbox.put(item.text)

    def join(self, number: int) -> None:
        self.begin(number)
        self.finish(number)

    def leave(self, number: int) -> None:
        self.hub.leave(self.members[number], HERE)

    async def rejoin(self, number: int, turns: int, fails: bool) -> None:
        """As it goes mostly: something is published before the answer, and behind it."""
        self.begin(number)
        self.publish(stored=True, size=0, but=None, but_user=None)
        await turns_of_the_loop(turns)
        self.finish(number, fails=fails)
        self.publish(stored=True, size=0, but=None, but_user=None)

    async def play(self, steps: list[tuple[Any, ...]]) -> None:
        for kind, *details in steps:
            if kind == "turns":
                await turns_of_the_loop(details[0])
            elif kind == "rejoin":
                await self.rejoin(*details)
            elif kind == "writable":
                self.sockets[details[0]].set_writable(details[1])
            else:
                getattr(self, kind)(*details[:-1], **details[-1])
        for socket in self.sockets:
            socket.set_writable(True)
        turn = Turn.of_running_loop()
        await until(lambda: not (turn.rounds or turn.waiting or turn.lingering))

    def check(self) -> None:
        assert [socket.frames for socket in self.sockets] == self.expected

"""Who is compared: how each server is started, and what its clients say.

Node's and Python's packages are where `make bench` put them (var/bench).
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import workloads

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
# Every publication's text, about 200 bytes with the JSON around it.
FILLER = "x" * 120
WELCOME = ('wait "type":"welcome"',)
UVICORN = ["-m", "uvicorn", "--host", "127.0.0.1", "--log-level", "warning", "--port"]


@dataclass(frozen=True)
class Script:
    """What the load generator's clients say; see load.c."""

    path: str
    publish: str = ""
    steps: tuple[str, ...] = ()
    # A header and a value of each client.
    clients: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        lines = [f"path {self.path}", *self.steps]
        if self.publish:
            lines.append(f"publish {self.publish}")
        lines += [f"client {header}\t{value}" for header, value in self.clients]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Server:
    """One contestant.

    `scripts` has a script for each kind of workload that it takes part in.
    """

    name: str
    command: Callable[[int], list[str]]
    scripts: dict[str, Callable[[], Script]]
    environment: dict[str, str] = field(default_factory=dict)


def _plain(publish: str, path: str = "/chat/") -> dict[str, Callable[[], Script]]:
    """A peer that echoes pings, and sends everything else to everybody."""
    ping = '{"type":"ping","text":"$N"}'
    return {
        "room": lambda: Script(path, publish),
        "ping": lambda: Script(path, ping),
        "connect": lambda: Script(path),
        "idle": lambda: Script(path),
    }


def _node(name: str) -> Callable[[int], list[str]]:
    return lambda port: [shutil.which("node") or "node", str(PEERS / name), str(port)]


_CHAT = '{"message":"$N' + FILLER + '"}'


def peers(folder: Path, token: Callable[[], str]) -> list[Server]:
    """Everybody but Ovara. `token`: a JWT of the tutorial's only user."""
    tutorial = _plain(_CHAT)
    tutorial["store"] = lambda: Script("/store/", _CHAT)
    tutorial["connect"] = lambda: Script(f"/jwt/?token={token()}")
    socketio_steps = ('wait 0{"sid"', "send 40", "wait 40")
    path = "/socket.io/?EIO=4&transport=websocket"
    return [
        Server(
            workloads.TUTORIAL,
            lambda port: [
                *(sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port)),
                *("--websocket_timeout", "-1", "benchmarks.peers.channels_tutorial:application"),
            ],
            tutorial,
            {"BENCHMARK_DATABASE": str(folder / "tutorial.sqlite3")},
        ),
        Server(
            workloads.FASTAPI,
            lambda port: [
                sys.executable,
                *UVICORN,
                str(port),
                "benchmarks.peers.fastapi_manager:app",
            ],
            _plain(_CHAT),
        ),
        Server(workloads.WS, _node("ws.mjs"), _plain(_CHAT)),
        Server(
            workloads.SOCKET_IO,
            _node("socketio.mjs"),
            {
                "room": lambda: Script(
                    path, '42["chat",{"message":"$N' + FILLER + '"}]', socketio_steps
                ),
                "ping": lambda: Script(path, '42["again",{"text":"$N"}]', socketio_steps),
                "connect": lambda: Script(path, "", socketio_steps),
                "idle": lambda: Script(path, "", socketio_steps),
            },
        ),
        Server(workloads.UWEBSOCKETS, _node("uwebsockets.mjs"), _plain(_CHAT)),
    ]


class World:
    """Ovara's database for the benchmark: accounts, a conversation for all, one for each.

    Args:
        folder: where the database goes.
        size: how many accounts.
        rooms: how many conversations for all.
    """

    def __init__(self, folder: Path, size: int, rooms: int = 1) -> None:
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "ovara.settings",
            "DATABASE_URL": f"sqlite:///{folder / 'ovara.sqlite3'}",
            "SECRET_KEY": "benchmark" * 6,
            "LOG_LEVEL": "WARNING",
            # The limits are checked as always, but for one address and one publisher they are high.
            "OVARA_FRAMES_PER_SECOND": "1000000",
            "OVARA_FRAME_BURST": "1000000",
            "OVARA_HANDSHAKES_PER_SECOND": "1000000",
            "OVARA_HANDSHAKE_BURST": "1000000",
            "OVARA_MAX_CONNECTIONS_PER_ADDRESS": "1000000",
            "OVARA_MAX_CONNECTIONS_PER_USER": "1000",
            "OVARA_ACCESS_TOKEN_LIFETIME_SECONDS": "86400",
            "OVARA_IDLE_TIMEOUT_SECONDS": "86400",
        }
        os.environ.update(self.environment)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        self._make(size, rooms)

    def _make(self, size: int, rooms: int) -> None:
        from ovara.accounts.models import User
        from ovara.accounts.tokens import AccessToken
        from sessions_app.models import Participant
        from sessions_app.services import conversation_create

        users = [User(username=f"user{number}", password="!") for number in range(size)]
        User.objects.bulk_create(users)
        made = [conversation_create(owner=users[0], title="Everybody") for _ in range(rooms)]
        Participant.objects.bulk_create(
            [
                Participant(conversation=room, user=user, role="member")
                for room in made
                for user in users[1:]
            ]
        )
        self.rooms = [str(room.pk) for room in made]
        self.conversation_id = self.rooms[0]
        self.clients = tuple(
            (
                f"Authorization: Bearer {AccessToken.for_user(user)}",
                str(conversation_create(owner=user).pk),
            )
            for user in users
        )

    def _message(self, conversation_id: str) -> str:
        # The id is of this run alone: what was stored before would not be sent again.
        return (
            '{"type":"message","conversation_id":"' + conversation_id + '","client_message_id":'
            f'"$N{uuid.uuid4().hex[:8]}","id":"1","content":"{FILLER}"}}'
        )

    def _joined(self, conversation_id: str) -> tuple[str, ...]:
        join = '{"type":"join","id":"j","conversation_id":"' + conversation_id + '"}'
        return (*WELCOME, f"send {join}", 'wait "type":"ack"')

    def room(self) -> Script:
        return Script(
            "/ws/",
            self._message(self.conversation_id),
            self._joined(self.conversation_id),
            self.clients,
        )

    def ping(self) -> Script:
        return Script("/ws/", '{"type":"ping","id":"$N"}', WELCOME, self.clients)

    def store(self) -> Script:
        """Each in a conversation of its own, which nobody has joined."""
        return Script("/ws/", self._message("$V"), WELCOME, self.clients)

    def idle(self) -> Script:
        """Each has joined a conversation of its own."""
        return Script("/ws/", "", self._joined("$V"), self.clients)

    def connect(self) -> Script:
        return Script("/ws/", "", WELCOME, self.clients)


def ovara(world: World) -> list[Server]:
    """Ovara on the servers that it supports; the scripts come from its database's content."""
    scripts = {
        "room": world.room,
        "ping": world.ping,
        "store": world.store,
        "connect": world.connect,
        "idle": world.idle,
    }
    return [
        Server(
            workloads.OVARA,
            lambda port: [
                sys.executable,
                "-m",
                "ovara.server",
                "--port",
                str(port),
                "--log-level",
                "warning",
            ],
            scripts,
            world.environment,
        ),
        Server(
            workloads.OVARA_DAPHNE,
            lambda port: [
                *(sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port)),
                *("--websocket_timeout", "-1", "ovara.asgi:application"),
            ],
            scripts,
            world.environment,
        ),
        Server(
            workloads.OVARA_UVICORN,
            lambda port: [
                sys.executable,
                *UVICORN,
                str(port),
                "--ws-max-size",
                "1048576",
                "ovara.asgi:application",
            ],
            scripts,
            world.environment,
        ),
    ]

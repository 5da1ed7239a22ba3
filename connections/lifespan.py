"""The node's life inside an ASGI server: it starts with the first scope, and drains at SIGTERM.

Daphne has no lifespan and cancels its applications at shutdown; uvicorn closes every socket with
1012 before its lifespan ends. So the node hooks the signal itself, on either.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from connections.auth import Application, Receive, Scope, Send
from connections.manager import websocket_manager
from ovara import background
from ovara.errors import Overloaded
from ovara.logs import fields

log = logging.getLogger("connections")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A balancer asks it often, and takes a server out that does not answer soon.
LIVENESS = "/healthz"
LIVENESS_SECONDS = 1.0
HELP = "Look at {}, and whether `manage.py migrate` was run; the next request tries again."


class NodeApplication:
    """Wraps the whole application; starts the node before anything else happens."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        self._hooked = False
        self._starting: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope.get("path") == LIVENESS:
            await self._start_for_a_while()
        else:
            await self._start()
        await self.inner(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await websocket_manager.node.drain()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start_for_a_while(self) -> None:
        """Start the node before an answer that says nothing of it, and waits for no database."""
        if websocket_manager.node.running:
            return
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start(), name="node start")
        await asyncio.wait({self._starting}, timeout=LIVENESS_SECONDS)

    async def _start(self) -> None:
        """Start the node. Where the database is away the server serves all the same: `readyz`
        says so, sockets are told to come back, and the next scope tries again."""
        if not self._hooked:
            self._hooked = True
            _hook_shutdown()
        try:
            await websocket_manager.node.ensure_started()
        except (Overloaded, DatabaseError) as error:
            help = HELP.format(settings.DATABASE_VARIABLE)
            log.error(fields("node_not_started", reason=error.__cause__ or error, help=help))
        except Exception:
            log.exception("the node could not start; the next request tries again")


def _hook_shutdown() -> None:
    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and getattr(reactor, "running", False):
        _hook_twisted(reactor)
    elif threading.current_thread() is threading.main_thread():
        # In another thread there are no signals; the end of the lifespan drains there.
        for number in SIGNALS:
            _chain_signal(number)


def _hook_twisted(reactor: Any) -> None:
    from twisted.internet.defer import Deferred

    def drain() -> Any:
        # Daphne's own trigger, called just before, has cancelled the consumers. They have not run
        # since, so what is sent here and now still reaches their clients, and not a turn later.
        _let_next_signal_kill()
        websocket_manager.node.send_away()
        task = background.start(websocket_manager.node.drain(), name="drain")
        return Deferred.fromFuture(task)

    reactor.addSystemEventTrigger("before", "shutdown", drain)


def _let_next_signal_kill() -> None:
    """A second signal ends the process at once; the others find its connections and close them."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _chain_signal(number: signal.Signals) -> None:
    """Drain at the first signal, then end the server."""
    before = signal.getsignal(number)
    if not callable(before):
        return
    loop = asyncio.get_running_loop()

    def handle(received: int, frame: FrameType | None) -> None:
        _let_next_signal_kill()
        loop.call_soon_threadsafe(start_draining, received, frame)

    def start_draining(received: int, frame: FrameType | None) -> None:
        background.start(drain_then_end(received, frame), name="drain")

    async def drain_then_end(received: int, frame: FrameType | None) -> None:
        try:
            await websocket_manager.node.drain()
        finally:
            _end_server(before, received, frame)

    signal.signal(number, handle)


def _end_server(
    handler: Callable[[int, FrameType | None], Any], received: int, frame: FrameType | None
) -> None:
    """As the server's own signal handler would, but that the exit code says that all went well."""
    server: Any = getattr(handler, "__self__", None)
    if hasattr(server, "should_exit"):
        # uvicorn. Its handler would have it die of the same signal when everything is done.
        server.should_exit = True
    else:
        handler(received, frame)

"""The manager for code that can't await: views, commands, shells, task queues' workers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ovara import background

if TYPE_CHECKING:
    from connections.manager import WebSocketManager


class SyncManager:
    """`websocket_manager.sync`: every coroutine of the manager as a plain function.

    They run on the process's one loop (a server's own, or one in a background thread), so a call
    neither makes nor closes a loop or a connection to Redis.

    >>> websocket_manager.sync.send_to_user(user_id, {"type": "notification"})  # doctest: +SKIP
    """

    def __init__(self, manager: WebSocketManager) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(type(self._manager), name, None)
        if name.startswith("_") or not inspect.iscoroutinefunction(method):
            raise AttributeError(f"The manager has no coroutine {name!r}.")
        bound = getattr(self._manager, name)

        @functools.wraps(bound)
        def call(*args: Any, **kwargs: Any) -> Any:
            return background.run(bound(*args, **kwargs))

        return call

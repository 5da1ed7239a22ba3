"""Applications that give their connection to a handler and return; see test_take_over.py."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from typing import Any

from ovara.server.frames import EXTENSION, binary_frame, text_frame


async def accept(send: Any, **fields: Any) -> None:
    await send({"type": "websocket.accept", **fields})


def transport_of(scope: dict[str, Any]) -> Any:
    return scope["extensions"][EXTENSION]["transport"]


class Echo:
    """A handler that sends everything back, and obeys some texts."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.transport = transport_of(scope)
        self.calls_transport = False

    def text_received(self, text: str) -> None:
        if text == "close":
            self.transport.write_frame(text_frame("farewell"))
            self.calls_transport = True
            self.transport.close(4001, "done")
            self.calls_transport = False
            self.transport.write_frame(text_frame("never"))
        elif text == "fail":
            raise RuntimeError("on purpose, in the handler")
        else:
            self.transport.write_frame(text_frame(text))

    def binary_received(self, data: bytes) -> None:
        self.transport.write_frame(binary_frame(data))

    def closed(self, code: int, reason: str) -> None:
        assert not self.calls_transport
        print("disconnected", json.dumps([code, reason]), flush=True)


async def take_over(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await accept(send)
    transport_of(scope).take_over(Echo(scope))


async def late(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """With messages waiting already."""
    await accept(send)
    await receive()
    transport_of(scope).take_over(Echo(scope))


async def after_the_end(scope: dict[str, Any], receive: Any, send: Any) -> None:
    ended = asyncio.Event()
    transport_of(scope).writing_resumed = ended.set
    await accept(send)
    await ended.wait()
    transport_of(scope).take_over(Echo(scope))


async def too_early_and_twice(scope: dict[str, Any], receive: Any, send: Any) -> None:
    try_in_vain(scope, "too early")
    await accept(send)
    transport_of(scope).take_over(Echo(scope))
    try_in_vain(scope, "twice")


def try_in_vain(scope: dict[str, Any], why: str) -> None:
    try:
        transport_of(scope).take_over(Echo(scope))
    except RuntimeError as error:
        print(f"{why}: {error}", flush=True)


async def then_fail(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await take_over(scope, receive, send)
    raise RuntimeError("on purpose, after the take-over")


async def census(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Say how many objects of each class there are, those included that only cycles keep alive."""
    gc.disable()
    await accept(send)
    while (await receive())["type"] == "websocket.receive":
        counts = Counter(type(one).__name__ for one in gc.get_objects())
        await send({"type": "websocket.send", "text": json.dumps(counts)})
    gc.enable()


PATHS = {
    "/take-over": take_over,
    "/take-over/late": late,
    "/take-over/after-the-end": after_the_end,
    "/take-over/too-early-and-twice": too_early_and_twice,
    "/take-over/then-fail": then_fail,
    "/census": census,
}

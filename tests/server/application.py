"""An ASGI application that does what the path and the messages say; see test_asgi.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ovara.server.frames import text_frame
from tests.server import take_overs
from tests.server.take_overs import accept, transport_of


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    kind = scope["type"]
    if kind == "lifespan":
        await lifespan(receive, send)
    elif kind == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
    else:
        assert await receive() == {"type": "websocket.connect"}
        await PATHS[scope["path"]](scope, receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    for _ in range(2):
        event = await receive()
        await send({"type": event["type"] + ".complete"})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await accept(send)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
    print("disconnected", json.dumps([event["code"], event["reason"]]), flush=True)


async def tell_scope(scope: dict[str, Any], receive: Any, send: Any) -> None:
    offered = scope["subprotocols"]
    await accept(
        send,
        subprotocol=offered[-1] if offered else None,
        headers=[(b"x-from-application", b"yes")],
    )
    known = {
        name: scope[name] for name in ("path", "root_path", "subprotocols", "scheme", "client")
    }
    known["raw_path"] = scope["raw_path"].decode()
    known["query_string"] = scope["query_string"].decode()
    known["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    await send({"type": "websocket.send", "text": json.dumps(known)})
    await receive()


async def refuse(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "websocket.close", "code": 4000})
    print("disconnected", json.dumps([(await receive())["code"], ""]), flush=True)


async def deny(scope: dict[str, Any], receive: Any, send: Any) -> None:
    start = "websocket.http.response.start"
    await send({"type": start, "status": 418, "headers": [(b"x-pot", b"short")]})
    body = "websocket.http.response.body"
    await send({"type": body, "body": b"tea", "more_body": True})
    await send({"type": body, "body": b"pot"})


async def accept_late(scope: dict[str, Any], receive: Any, send: Any) -> None:
    event = await receive()
    print("before the accept", event["type"], event["code"], flush=True)


async def fail_first(scope: dict[str, Any], receive: Any, send: Any) -> None:
    raise RuntimeError("on purpose, before the accept")


async def fail_later(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await accept(send)
    raise RuntimeError("on purpose, after the accept")


async def go_silently(scope: dict[str, Any], receive: Any, send: Any) -> None:
    pass


async def go_after_accept(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await accept(send)


async def close(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await accept(send)
    await send({"type": "websocket.send", "text": "the last words"})
    await send({"type": "websocket.close", "code": 4412, "reason": "wörds " + "é" * 70})
    event = await receive()
    print("disconnected", json.dumps([event["code"], event["reason"][:5]]), flush=True)


async def send_after_end(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await accept(send)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except OSError as error:
        print("refused to send:", type(error).__name__, flush=True)


async def flood(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Send for ever; says how much when `send` first had to wait."""
    await accept(send)
    for count in range(1_000_000):
        try:
            async with asyncio.timeout(0.5):
                await send({"type": "websocket.send", "bytes": bytes(65_536)})
        except TimeoutError:
            print("send waits behind", count, flush=True)
            return


async def frames(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The extension: `write_frame` and `send` keep one order."""
    transport = transport_of(scope)
    await accept(send)
    for number in range(3):
        transport.write_frame(text_frame(f"frame {number}"))
        await send({"type": "websocket.send", "text": f"send {number}"})

    await receive()


async def frames_to_a_slow_reader(scope: dict[str, Any], receive: Any, send: Any) -> None:
    transport = transport_of(scope)
    resumed = asyncio.Event()
    transport.writing_resumed = resumed.set
    await accept(send)
    frame = text_frame("x" * 50_000)
    count = 0
    while transport.is_writable:
        transport.write_frame(frame)
        count += 1
        await asyncio.sleep(0)
    assert transport.buffered_bytes() > 0
    print("paused", flush=True)
    await resumed.wait()
    transport.write_frame(text_frame(str(count)))
    await receive()


PATHS = {
    "/echo": echo,
    "/a b": tell_scope,
    "/refuse": refuse,
    "/deny": deny,
    "/accept-late": accept_late,
    "/fail-first": fail_first,
    "/fail-later": fail_later,
    "/go-silently": go_silently,
    "/go-after-accept": go_after_accept,
    "/close": close,
    "/send-after-end": send_after_end,
    "/flood": flood,
    "/frames": frames,
    "/slow-reader": frames_to_a_slow_reader,
} | take_overs.PATHS

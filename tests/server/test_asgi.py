"""The ASGI side of the recommended server, and the extension for finished frames."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Awaitable, Callable

import pytest

from tests.server.conftest import AsgiServer, StartServer
from tests.server.raw import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    RawConnection,
    client_frame,
    close_payload,
)

pytestmark = pytest.mark.storeless

Raw = Callable[..., Awaitable[RawConnection]]


async def test_the_scope_is_as_the_specification_says(asgi: AsgiServer, raw: Raw) -> None:
    connection = await raw(
        asgi, "/a%20b?x=1&y=%20", Sec_WebSocket_Protocol="first, second", X_Name="Zo\u00eb"
    )
    assert await connection.answer() == 101
    assert connection.headers["sec-websocket-protocol"] == "second"
    assert connection.headers["x-from-application"] == "yes"
    frame = await connection.frame()
    assert frame is not None
    scope = json.loads(frame.payload)
    assert scope["path"] == "/a b"
    assert scope["raw_path"] == "/a%20b"
    assert scope["query_string"] == "x=1&y=%20"
    assert scope["scheme"] == "ws"
    assert scope["subprotocols"] == ["first", "second"]
    assert scope["client"][0] == "127.0.0.1"
    assert ["x-name", "Zo\u00eb"] in scope["headers"]


async def test_a_close_before_the_accept_is_a_403(asgi: AsgiServer, raw: Raw) -> None:
    mark = asgi.log_mark()
    connection = await raw(asgi, "/refuse")
    assert await connection.answer() == 403
    assert await connection.reader.read() == b""
    await asgi.wait_for_log(r"disconnected \[1006", since=mark)


async def test_a_denial_response_is_sent_whole(asgi: AsgiServer, raw: Raw) -> None:
    connection = await raw(asgi, "/deny")
    assert await connection.answer() == 418
    assert connection.headers["x-pot"] == "short"
    assert connection.headers["content-length"] == "6"
    assert await connection.reader.read() == b"teapot"


async def test_an_application_hears_of_a_client_that_goes_before_the_accept(
    asgi: AsgiServer, raw: Raw
) -> None:
    mark = asgi.log_mark()
    await (await raw(asgi, "/accept-late")).close()
    await asgi.wait_for_log("before the accept websocket.disconnect 1006", since=mark)


@pytest.mark.parametrize("path", ["/fail-first", "/go-silently"])
async def test_an_application_that_does_not_answer_is_a_500(
    asgi: AsgiServer, raw: Raw, path: str
) -> None:
    assert await (await raw(asgi, path)).answer() == 500


@pytest.mark.parametrize(("path", "code"), [("/fail-later", 1011), ("/go-after-accept", 1000)])
async def test_an_application_that_ends_closes_the_connection(
    asgi: AsgiServer, raw: Raw, path: str, code: int
) -> None:
    connection = await raw(asgi, path)
    assert await connection.answer() == 101
    frame = await connection.frame()
    assert frame is not None
    assert frame.opcode == CLOSE
    assert struct.unpack("!H", frame.payload)[0] == code


async def test_an_application_closes_with_code_and_reason_behind_what_it_sent(
    asgi: AsgiServer, raw: Raw
) -> None:
    mark = asgi.log_mark()
    connection = await raw(asgi, "/close")
    await connection.answer()
    assert await connection.frame() == Frame(TEXT, b"the last words")
    frame = await connection.frame()
    assert frame is not None
    assert frame.payload[:2] == struct.pack("!H", 4412)
    # Cut to what a close frame can hold, between two characters.
    assert frame.payload[2:].decode() == "wörds " + "é" * 58
    connection.send(client_frame(CLOSE, close_payload(4412)))
    assert await connection.frame() is None
    await asgi.wait_for_log(r'disconnected \[4412, "w\\u00f6rds"\]', since=mark)


async def test_a_send_after_the_end_raises_an_os_error(asgi: AsgiServer, raw: Raw) -> None:
    mark = asgi.log_mark()
    connection = await raw(asgi, "/send-after-end")
    await connection.answer()
    await connection.close()
    await asgi.wait_for_log("refused to send: ClientDisconnected", since=mark)


async def test_send_waits_while_the_client_does_not_read(asgi: AsgiServer, raw: Raw) -> None:
    mark = asgi.log_mark()
    connection = await raw(asgi, "/flood")
    connection.writer.transport.pause_reading()
    found = await asgi.wait_for_log(r"send waits behind (\d+)", since=mark)
    # What kernel and transport hold: some megabytes, not the gigabytes of a send without end.
    assert int(found[1]) < 500


async def test_a_client_is_not_read_faster_than_the_application_takes(
    asgi: AsgiServer, raw: Raw
) -> None:
    connection = await raw(asgi, "/flood")
    await connection.answer()
    message = client_frame(TEXT, b"x" * 60_000)
    for _ in range(2_000):
        connection.send(message)
        if connection.writer.transport.get_write_buffer_size() > 20_000_000:
            return
    pytest.fail("120 MB were read that nobody asked for")


async def test_frames_of_the_extension_and_sends_keep_one_order(asgi: AsgiServer, raw: Raw) -> None:
    connection = await raw(asgi, "/frames")
    await connection.answer()
    for number in range(3):
        assert await connection.frame() == Frame(TEXT, f"frame {number}".encode())
        assert await connection.frame() == Frame(TEXT, f"send {number}".encode())


async def test_the_extension_shows_when_a_reader_is_slow_and_when_it_has_caught_up(
    asgi: AsgiServer, raw: Raw
) -> None:
    mark = asgi.log_mark()
    connection = await raw(asgi, "/slow-reader")
    connection.writer.transport.pause_reading()
    await asgi.wait_for_log("paused", since=mark)
    connection.writer.transport.resume_reading()
    await connection.answer()
    sizes = []
    while (frame := await connection.frame()) is not None and len(frame.payload) == 50_000:
        sizes.append(len(frame.payload))
    assert frame == Frame(TEXT, str(len(sizes)).encode())


@pytest.mark.parametrize("path", ["/echo", "/take-over"])
async def test_silent_peers_are_pinged_and_dead_ones_dropped(
    start_asgi: StartServer, raw: Raw, path: str
) -> None:
    server = start_asgi("--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.2")
    alive, dead = await raw(server, path), await raw(server, path)
    await alive.answer()
    await dead.answer()
    for _ in range(4):
        assert await alive.frame() == Frame(PING, b"")
        alive.send(client_frame(PONG))
    assert await dead.frame() == Frame(PING, b"")
    assert await dead.frame() is None
    await server.wait_for_log(r"disconnected \[1006, .the peer does not answer")
    alive.send(client_frame(TEXT, b"still here"))
    frame = await alive.frame()
    while frame == Frame(PING, b""):
        frame = await alive.frame()
    assert frame == Frame(TEXT, b"still here")


async def test_a_server_that_ends_says_so(start_asgi: StartServer, raw: Raw) -> None:
    server = start_asgi()
    open_one, waiting = await raw(server, "/echo"), await raw(server, "/accept-late")
    taken_over = await raw(server, "/take-over")
    for connection in (open_one, taken_over):
        await connection.answer()
    server.signal(signal.SIGTERM)
    assert await open_one.closed() == 1012
    assert await taken_over.closed() == 1012
    assert await waiting.answer() == 503
    assert server.wait() in {0, -signal.SIGTERM}
    # Each application, or handler, has heard of it.
    assert server.logs().count('disconnected [1012, ""]') == 2
    assert "Traceback" not in server.logs()

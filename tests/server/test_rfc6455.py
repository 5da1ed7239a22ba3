"""RFC 6455 as the recommended server keeps it: handshake, frames, and how wrong ones end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ovara.server.frames import read_close
from tests.server.conftest import AsgiServer
from tests.server.raw import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
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


@pytest.fixture(params=["/echo", "/take-over"])
async def echo(request: pytest.FixtureRequest, asgi: AsgiServer, raw: Raw) -> RawConnection:
    """From an application that receives and sends, and from a handler that took over."""
    connection = await raw(asgi, request.param)
    assert await connection.answer() == 101
    return connection


async def test_the_handshake_of_the_rfc_is_answered_as_there(echo: RawConnection) -> None:
    assert echo.headers["sec-websocket-accept"] == ACCEPT
    assert echo.headers["upgrade"].lower() == "websocket"
    assert echo.headers["connection"].lower() == "upgrade"
    assert "sec-websocket-extensions" not in echo.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Sec_WebSocket_Key": "not base64 at all!!!"}, 400),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": ""}, 426),
        ({"method": "POST"}, 405),
    ],
)
async def test_a_wrong_handshake_gets_an_http_error(
    asgi: AsgiServer, raw: Raw, headers: dict[str, str], status: int
) -> None:
    connection = await raw(asgi, "/echo", **headers)
    assert await connection.answer() == status
    if status == 426:
        assert connection.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_messages_of_every_length_form_come_back(
    echo: RawConnection, opcode: int, size: int
) -> None:
    payload = (b"0123456789" * (size // 10 + 1))[:size]
    echo.send(client_frame(opcode, payload))
    assert await echo.frame() == Frame(opcode, payload)


async def test_a_fragmented_message_is_one_message_with_a_ping_in_between(
    echo: RawConnection,
) -> None:
    snowman = "☃".encode()
    echo.send(
        client_frame(TEXT, snowman[:1], fin=False),
        client_frame(PING, b"now?"),
        client_frame(CONTINUATION, b"", fin=False),
        client_frame(CONTINUATION, snowman[1:]),
        client_frame(BINARY, b"ab", fin=False),
        client_frame(CONTINUATION, b"c"),
    )
    assert await echo.frame() == Frame(PONG, b"now?")
    assert await echo.frame() == Frame(TEXT, snowman)
    assert await echo.frame() == Frame(BINARY, b"abc")


async def test_frames_may_come_a_byte_at_a_time(echo: RawConnection) -> None:
    for byte in client_frame(TEXT, b"slowly" * 30):
        echo.send(bytes([byte]))
        await echo.writer.drain()
    assert await echo.frame() == Frame(TEXT, b"slowly" * 30)


async def test_many_messages_in_one_packet_come_back_in_order(echo: RawConnection) -> None:
    echo.send(*(client_frame(TEXT, str(number).encode()) for number in range(500)))
    for number in range(500):
        assert await echo.frame() == Frame(TEXT, str(number).encode())


async def test_pings_are_answered_and_pongs_nobody_asked_for_ignored(echo: RawConnection) -> None:
    echo.send(client_frame(PONG, b"hm"), client_frame(PING, b"x" * 125), client_frame(PING))
    assert await echo.frame() == Frame(PONG, b"x" * 125)
    assert await echo.frame() == Frame(PONG, b"")


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 4000, 4999])
async def test_a_close_is_answered_with_its_code_and_told_to_the_application(
    asgi: AsgiServer, echo: RawConnection, code: int
) -> None:
    mark = asgi.log_mark()
    echo.send(client_frame(CLOSE, close_payload(code, "bye")))
    assert await echo.closed() == code
    await asgi.wait_for_log(rf'disconnected \[{code}, "bye"\]', since=mark)


async def test_a_close_without_a_code_is_1005_for_the_application(
    asgi: AsgiServer, echo: RawConnection
) -> None:
    mark = asgi.log_mark()
    echo.send(client_frame(CLOSE))
    assert await echo.closed() in {1000, 1005}
    await asgi.wait_for_log(r'disconnected \[1005, ""\]', since=mark)


async def test_a_connection_that_breaks_is_1006_for_the_application(
    asgi: AsgiServer, echo: RawConnection
) -> None:
    mark = asgi.log_mark()
    await echo.close()
    await asgi.wait_for_log(r'disconnected \[1006, ""\]', since=mark)


async def test_the_rest_of_a_frame_may_look_like_a_close(echo: RawConnection) -> None:
    rest = client_frame(CLOSE, close_payload(1000))
    payload = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(bytes(8) + rest))
    frame = client_frame(BINARY, payload)
    assert frame.endswith(rest)
    echo.send(client_frame(PING), frame[: -len(rest)])
    assert await echo.frame() == Frame(PONG, b"")  # the first part has been read
    echo.send(rest)
    assert await echo.frame() == Frame(BINARY, payload)


LONGEST_REASON = "é" * 61 + "x"


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
@pytest.mark.parametrize("reason", ["", "bye", LONGEST_REASON])
def test_a_plain_close_is_read_without_a_parser(code: int, reason: str) -> None:
    assert read_close(client_frame(CLOSE, close_payload(code, reason))) == (code, reason)


NO_CODES = (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)


def test_a_close_without_a_payload_has_no_code() -> None:
    assert read_close(client_frame(CLOSE)) == (0, "")


@pytest.mark.parametrize(
    "data",
    [
        client_frame(CLOSE, close_payload(1000), masked=False),
        client_frame(CLOSE, close_payload(1000), rsv=4),
        client_frame(CLOSE, close_payload(1000), fin=False),
        client_frame(CLOSE, close_payload(1000), length_bytes=2),
        client_frame(CLOSE, close_payload(1000, LONGEST_REASON + "x")),
        client_frame(CLOSE, close_payload(1000)) + b"x",
        client_frame(CLOSE, close_payload(1000))[:-1],
        client_frame(CLOSE, b"\x03"),
        client_frame(CLOSE, b"\x03\xe8\xff"),
        client_frame(TEXT, close_payload(1000)),
        *(client_frame(CLOSE, close_payload(code)) for code in NO_CODES),
    ],
)
def test_whatever_else_is_left_to_the_parser(data: bytes) -> None:
    assert read_close(data) is None


VIOLATIONS = {
    "a frame without a mask": (1002, [client_frame(TEXT, b"x", masked=False)]),
    "a reserved bit": (1002, [client_frame(TEXT, b"x", rsv=4)]),
    "another reserved bit": (1002, [client_frame(TEXT, b"x", rsv=1)]),
    "a reserved bit on a control frame": (1002, [client_frame(PING, b"x", rsv=2)]),
    "an unknown data opcode": (1002, [client_frame(3, b"x")]),
    "an unknown control opcode": (1002, [client_frame(11, b"x")]),
    "a fragmented ping": (1002, [client_frame(PING, b"x", fin=False)]),
    "a ping too long": (1002, [client_frame(PING, b"x" * 126)]),
    "a continuation of nothing": (1002, [client_frame(CONTINUATION, b"x")]),
    "a new message within another": (
        1002,
        [client_frame(TEXT, b"a", fin=False), client_frame(TEXT, b"b")],
    ),
    "a length in too long a form": (1002, [client_frame(TEXT, b"x", length_bytes=2)]),
    "a text that is no UTF-8": (1007, [client_frame(TEXT, b"\xff")]),
    "an encoded surrogate": (1007, [client_frame(TEXT, b"\xed\xa0\x80")]),
    "fragments that are no UTF-8 together": (
        1007,
        [client_frame(TEXT, b"\xe2", fin=False), client_frame(CONTINUATION, b"x")],
    ),
    "a frame too big": (1009, [client_frame(BINARY, bytes(100_001))]),
    "fragments too big together": (
        1009,
        [client_frame(BINARY, bytes(60_000), fin=False), client_frame(CONTINUATION, bytes(60_000))],
    ),
    "a close with one byte": (1002, [client_frame(CLOSE, b"\x03")]),
    "a close code that nobody sends": (1002, [client_frame(CLOSE, close_payload(1005))]),
    "a close code of no range": (1002, [client_frame(CLOSE, close_payload(2999))]),
    "a close code that says how a connection broke": (
        1002,
        [client_frame(CLOSE, close_payload(1006))],
    ),
    "a close code of zero": (1002, [client_frame(CLOSE, close_payload(0))]),
    "a reserved bit on a close": (1002, [client_frame(CLOSE, close_payload(1000), rsv=4)]),
    "a close code of no range above": (1002, [client_frame(CLOSE, close_payload(5000))]),
    "a reason that is no UTF-8": (1007, [client_frame(CLOSE, b"\x03\xe8\xff")]),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_what_breaks_the_protocol_ends_the_connection_with_the_right_code(
    asgi: AsgiServer, echo: RawConnection, name: str
) -> None:
    code, frames = VIOLATIONS[name]
    mark = asgi.log_mark()
    echo.send(*frames)
    assert await echo.closed() == code
    await asgi.wait_for_log(rf"disconnected \[{code}", since=mark)
    assert "Traceback" not in "\n".join(asgi.logs().splitlines()[mark:])


async def test_what_comes_behind_a_close_is_not_read(asgi: AsgiServer, echo: RawConnection) -> None:
    echo.send(client_frame(CLOSE, close_payload(1000)), client_frame(TEXT, b"late"))
    assert await echo.frame() == Frame(CLOSE, close_payload(1000))
    assert await echo.frame() is None

"""A connection that lives on by callbacks when its application has returned."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from ovara.server.parser import MAX_AT_REST
from tests.server.conftest import AsgiServer, StartServer
from tests.server.raw import (
    BINARY,
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
Census = Callable[[], Awaitable[Counter[str]]]
# What a connection needs while its application runs, and uvicorn while it reads HTTP.
PASSING = {"HttpToolsProtocol", "PicowsProtocol", "Mailbox", "Task", "coroutine"}


@pytest.fixture
async def taken(asgi: AsgiServer, raw: Raw) -> RawConnection:
    connection = await raw(asgi, "/take-over")
    assert await connection.answer() == 101
    return connection


async def test_a_handler_gets_what_comes_and_ends_it(
    asgi: AsgiServer, taken: RawConnection
) -> None:
    mark = asgi.log_mark()
    taken.send(client_frame(TEXT, b"now"), client_frame(BINARY, b"\0\1"))
    assert await taken.frame() == Frame(TEXT, b"now")
    assert await taken.frame() == Frame(BINARY, b"\0\1")
    taken.send(client_frame(TEXT, b"close"), client_frame(TEXT, b"late"))
    assert await taken.frame() == Frame(TEXT, b"farewell")
    assert await taken.frame() == Frame(CLOSE, close_payload(4001, "done"))
    await asgi.wait_for_log(r'disconnected \[4001, "done"\]', since=mark)
    taken.send(client_frame(CLOSE, close_payload(4001)))
    assert await taken.frame() is None
    assert "Traceback" not in "\n".join(asgi.logs().splitlines()[mark:])


async def test_what_waits_for_the_application_goes_to_the_handler_in_order(
    asgi: AsgiServer, raw: Raw
) -> None:
    connection = await raw(asgi, "/take-over/late")
    await connection.answer()
    # More than may wait: what comes then is not read before the handler takes it.
    messages = [str(number).encode() for number in range(50)]
    connection.send(
        client_frame(TEXT, b"for the application"),
        *(client_frame(TEXT, one) for one in messages),
        client_frame(BINARY, b"last"),
    )
    for one in messages:
        assert await connection.frame() == Frame(TEXT, one)
    assert await connection.frame() == Frame(BINARY, b"last")


async def test_a_handler_is_told_of_an_end_that_came_before_it(asgi: AsgiServer, raw: Raw) -> None:
    mark = asgi.log_mark()
    connection = await raw(asgi, "/take-over/after-the-end")
    await connection.answer()
    connection.send(client_frame(CLOSE, close_payload(4002, "gone")))
    await asgi.wait_for_log(r'disconnected \[4002, "gone"\]', since=mark)


async def test_only_an_accepted_connection_is_taken_over_and_only_once(
    asgi: AsgiServer, raw: Raw
) -> None:
    mark = asgi.log_mark()
    connection = await raw(asgi, "/take-over/too-early-and-twice")
    await connection.answer()
    connection.send(client_frame(TEXT, b"still here"))
    assert await connection.frame() == Frame(TEXT, b"still here")
    await asgi.wait_for_log("too early: Take", since=mark)
    await asgi.wait_for_log("twice: Take", since=mark)


async def test_an_error_in_a_handler_ends_the_connection_with_1011(
    asgi: AsgiServer, taken: RawConnection
) -> None:
    mark = asgi.log_mark()
    taken.send(client_frame(TEXT, b"fail"), client_frame(TEXT, b"not read any more"))
    assert await taken.frame() == Frame(CLOSE, close_payload(1011))
    await asgi.wait_for_log("on purpose, in the handler", since=mark)
    await asgi.wait_for_log(r"disconnected \[1011", since=mark)


async def test_an_application_that_fails_after_the_take_over_ends_it_with_1011(
    asgi: AsgiServer, raw: Raw
) -> None:
    connection = await raw(asgi, "/take-over/then-fail")
    await connection.answer()
    assert await connection.frame() == Frame(CLOSE, close_payload(1011))


@pytest.fixture(scope="module")
def counted_server(start_asgi: StartServer) -> AsgiServer:
    return start_asgi("--loop", "uvloop")


@pytest.fixture
async def counting(counted_server: AsgiServer, raw: Raw) -> tuple[AsgiServer, Census]:
    """A server where nobody else connects, and how many objects of each class it has."""
    server = counted_server
    observer = await raw(server, "/census")
    await observer.answer()

    async def census() -> Counter[str]:
        observer.send(client_frame(TEXT, b"now"))
        frame = await observer.frame()
        while frame is not None and frame.opcode == PING:
            observer.send(client_frame(PONG, frame.payload))
            frame = await observer.frame()
        assert frame is not None
        return Counter(json.loads(frame.payload))

    return server, census


async def test_a_connection_that_was_taken_over_keeps_nothing_of_its_beginning(
    counting: tuple[AsgiServer, Census], raw: Raw
) -> None:
    server, census = counting
    before = await census()
    connections = [await raw(server, "/take-over") for _ in range(20)]
    for connection in connections:
        await connection.answer()
        connection.send(client_frame(TEXT, b"here"))
        assert await connection.frame() == Frame(TEXT, b"here")
    more = await census() - before
    assert more["Connection"] == more["Echo"] == 20
    assert not PASSING & more.keys(), more
    for connection in connections:
        await connection.close()
    async with asyncio.timeout(10):
        while (left := await census())["Connection"] > before["Connection"]:
            pass
    assert left["Echo"] == before["Echo"]


# What a client sends last, and the code that it is answered with.
ENDS = {
    "a close": (client_frame(CLOSE, close_payload(1000)), 1000),
    "a close and more": (
        client_frame(CLOSE, close_payload(1000)) + client_frame(TEXT, b"late"),
        1000,
    ),
    "a frame that is wrong": (client_frame(TEXT, b"x", rsv=4), 1002),
    "a frame that picows finds wrong": (client_frame(TEXT, b"x", masked=False), 1002),
    "a large frame": (
        client_frame(TEXT, b"x" * 50_000) + client_frame(CLOSE, close_payload(1000)),
        1000,
    ),
}


async def parsers_left(connections: list[RawConnection], census: Census) -> int:
    """How many there are when these have gone and the garbage collector has not come by."""
    for connection in connections:
        await connection.close()
    async with asyncio.timeout(10):
        while (left := await census())["Echo"]:
            pass
    assert left["WSProtocol"] == left["Parser"]
    return left["Parser"]


@pytest.mark.parametrize("end", ENDS)
async def test_a_connection_that_ends_leaves_no_parser_for_the_garbage_collector(
    counting: tuple[AsgiServer, Census], raw: Raw, end: str
) -> None:
    server, census = counting
    data, code = ENDS[end]
    connections = [await raw(server, "/take-over") for _ in range(3 * MAX_AT_REST)]
    for connection in connections:
        await connection.answer()
        connection.send(data)
        assert await connection.closed() == code
    # Those at rest: the one that read this question is among them.
    assert 1 <= await parsers_left(connections, census) <= MAX_AT_REST


async def test_a_connection_that_is_cut_within_a_frame_leaves_no_parser_either(
    counting: tuple[AsgiServer, Census], raw: Raw
) -> None:
    server, census = counting
    connections = [await raw(server, "/take-over") for _ in range(3 * MAX_AT_REST)]
    for connection in connections:
        await connection.answer()
        connection.send(client_frame(TEXT, b"x" * 100)[:50])
    async with asyncio.timeout(10):
        while (await census())["Parser"] < len(connections):
            pass
    assert 1 <= await parsers_left(connections, census) <= MAX_AT_REST

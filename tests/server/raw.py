"""A WebSocket client that says exactly what it is told, right or wrong, by RFC 6455 on paper."""

from __future__ import annotations

import asyncio
import struct
from typing import NamedTuple, Self

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the RFC's own example, 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length_bytes: int | None = None,
) -> bytes:
    """One frame; `length_bytes` (0, 2 or 8) forces a longer form of the length than is due."""
    size = len(payload)
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65_536 else 8
    short = {0: size, 2: 126, 8: 127}[length_bytes]
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | short])
    head += {0: b"", 2: struct.pack("!H", size % 65_536), 8: struct.pack("!Q", size)}[length_bytes]
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


class RawConnection:
    """One TCP connection; `status` and `headers` are the answer to the handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(cls, port: int, path: str, **headers: str) -> Self:
        """Connect and shake hands; `Sec_WebSocket_Key=""` leaves that header out."""
        connection = cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**24))
        wanted = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        method = wanted.pop("method", "GET")
        lines = [f"{name}: {value}" for name, value in wanted.items() if value]
        connection.send("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "\r\n"]).encode())
        return connection

    async def answer(self) -> int:
        """Read the answer to the handshake; its status."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        return self.status

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def frame(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        async with asyncio.timeout(5):
            try:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                assert not second & 0x80, "a server's frames are not masked"
                return Frame(first & 15, await self.reader.readexactly(size), bool(first & 0x80))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def closed(self) -> int | None:
        """Read to the end; the code of the close frame, None if there was none."""
        code = None
        while (frame := await self.frame()) is not None:
            if frame.opcode == CLOSE:
                code = struct.unpack("!H", frame.payload[:2])[0] if frame.payload else 1005
        return code

    async def close(self) -> None:
        self.writer.transport.abort()

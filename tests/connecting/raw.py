"""A WebSocket client whose TCP socket the test holds: it reads, or not, when the test says so."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from tests.support.server import ServerProcess

# Small, so that the peer's buffers fill soon.
RECEIVE_BUFFER_BYTES = 4096


class RawClient:
    """A connection made by hand. Blocking: call it in a thread where the wait may be long."""

    def __init__(self, server: ServerProcess, token: str | None = None) -> None:
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.tcp.settimeout(10)
        self.tcp.connect(("127.0.0.1", server.port))
        self.protocol = ClientProtocol(parse_uri(server.ws_url), max_size=None)
        request = self.protocol.connect()
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        self.protocol.send_request(request)
        self._flush()
        self._texts: list[str] = []
        self._parts: list[bytes] = []
        while not self._receive():
            pass
        self.welcome = self.read()

    def send(self, frame: dict[str, Any]) -> None:
        self.protocol.send_text(json.dumps(frame).encode())
        self._flush()

    def read(self) -> dict[str, Any]:
        """The next frame; EOFError when there is none to come."""
        while not self._texts:
            if not self._receive():
                raise EOFError
        frame: dict[str, Any] = json.loads(self._texts.pop(0))
        return frame

    def read_to_the_end(self) -> list[dict[str, Any]]:
        """All frames that still come, until the server ends the connection."""
        frames = []
        try:
            while True:
                frames.append(self.read())
        except (EOFError, ConnectionError):
            return frames

    @property
    def close_code(self) -> int:
        """What the server closed with; 1006 if it just went."""
        received = self.protocol.close_rcvd
        return 1006 if received is None else int(received.code)

    def reset(self) -> None:
        """End the connection by a TCP reset, as a killed client's machine does."""
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.close()

    def close(self) -> None:
        self.tcp.close()

    def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.tcp.sendall(data)

    def _receive(self) -> bool:
        """Read once; False at the end of the stream."""
        data = self.tcp.recv(65536)
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        self._flush()
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                assert event.status_code == 101, event
            elif isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.CONT}:
                self._parts.append(event.data)
                if event.fin:
                    self._texts.append(b"".join(self._parts).decode())
                    self._parts.clear()
        return bool(data)

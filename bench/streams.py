"""An upstream for long bodies and WebSockets: `python -m bench.streams PORT`.

`GET /streams/download/N` answers N bytes, `POST /streams/upload` says how many bytes came, and an upgrade to
`websocket` echoes every message. Nothing else is understood; requests come from our own clients.
"""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from hashlib import sha1
from typing import cast

import uvloop

PIECE = bytes(262_144)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"


class Streams(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._head = b""
        self._to_send = 0
        self._expected = self._received = 0
        self._chunked_tail: bytes | None = None  # the last bytes of a chunked upload
        self._echoing = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._echoing:
            self._echo(data)
        elif self._expected or self._chunked_tail is not None:
            self._take(data)
        else:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if found:
                self._head = b""
                self._begin(head, rest)

    def _begin(self, head: bytes, rest: bytes) -> None:
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)
        if download := re.match(rb"GET /streams/download/(\d+) ", head):
            self._to_send = int(download[1])
            self.transport.write(_HEAD % self._to_send)
            self._send_on()
        elif key:
            self._echoing = True
            accept = base64.b64encode(sha1(key[1] + _GUID, usedforsecurity=False).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
            )
            self._echo(rest)
        elif length and int(length[1]):
            self._expected = int(length[1])
            self._take(rest)
        elif re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            self._chunked_tail = b""
            self._take(rest)
        else:
            self.transport.write(_HEAD % 0)

    def _send_on(self) -> None:
        while self._to_send and not self._paused:
            piece = PIECE if self._to_send >= len(PIECE) else PIECE[: self._to_send]
            self._to_send -= len(piece)
            self.transport.write(piece)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send_on()

    def _take(self, data: bytes) -> None:
        self._received += len(data)
        if self._chunked_tail is not None:  # counted with its framing: our clients send sized bodies
            self._chunked_tail = (self._chunked_tail + data)[-5:]
            done = self._chunked_tail == b"0\r\n\r\n"
        else:
            done = self._received >= self._expected
        if done:
            answer = b"%d" % self._received
            self._expected = self._received = 0
            self._chunked_tail = None
            self.transport.write(_HEAD % len(answer) + answer)

    def _echo(self, data: bytes) -> None:
        """Send every whole message back unmasked. Messages are short and masked with zeros."""
        data, self._head = self._head + data, b""
        out: list[bytes] = []
        while len(data) >= 6:
            size = data[1] & 0x7F
            if len(data) < 6 + size:
                break
            out += (data[:1], bytes((size,)), data[6 : 6 + size])
            data = data[6 + size :]
        self._head = data
        if out:
            self.transport.write(b"".join(out))


async def serve(port: int) -> None:
    """Until killed."""
    server = await asyncio.get_running_loop().create_server(Streams, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

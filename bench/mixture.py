"""Callers of every kind at once, honest and not: what a worker has to bear in its daily life."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

PATIENCE_S = 60.0
"""For one turn of a caller: whoever waits for longer has found something."""

REST_S = 0.02
"""Between two turns, so that the load stays below what one core of callers can make."""

_RESET = struct.pack("ii", 1, 0)
_UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_MESSAGE = b"a message of a few dozen bytes, as they are said in chats"
_BAD = (
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
    b"GET /a/%2e%2e%5c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 20_000,
    b"\x16\x03\x01\x02\x00\x01\x00" * 300,
    b"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: tw_live_0000000000000000000000000000000000000\r\n\r\n",
)
_HALVES = (
    b"",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: ",
    b"\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000,
)

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass
class Mixture:
    """Everybody at once against one port, in front of `bench.streams`. `wrong`: what should not have been."""

    KINDS: ClassVar[Mapping[str, int]] = {
        "plain": 6,
        "fresh": 2,
        "download": 2,
        "upload": 2,
        "sip": 10,
        "leave": 4,
        "nonsense": 4,
        "chat": 6,
        "silence": 60,
    }
    """What callers do, and how many of them."""

    port: int
    key: str
    seed: int = 1
    turns: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    wrong: list[str] = field(default_factory=list)
    is_over: bool = False

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._numbers = itertools.count()
        self._known = f"X-API-Key: {self.key}\r\n".encode()

    async def run(self) -> None:
        """Until `is_over`, and then until everybody has had the own turn."""
        everybody = [kind for kind, count in self.KINDS.items() for _ in range(count)]
        await asyncio.gather(*map(self._again, everybody))

    async def _again(self, kind: str) -> None:
        act: Callable[[], Awaitable[None]] = getattr(self, f"_{kind}")
        while not self.is_over:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await act()
            except (OSError, EOFError, TimeoutError, AssertionError) as error:
                self.wrong.append(f"{kind}: {error!r}")
            self.turns[kind] += 1
            await asyncio.sleep(REST_S)

    # -- honest ------------------------------------------------------------------------------------------

    async def _plain(self) -> None:
        """Calls over a kept connection, alike and not, with bodies now and then."""
        async with self._connection() as (reader, writer):
            for number in range(50):
                writer.write(self._get(f"/projects/{next(self._numbers)}" if number % 2 else "/projects"))
                await self._answer(reader)
            body = self._random.randbytes(self._random.randrange(100_000))
            writer.write(self._head("POST", "/projects", b"Content-Length: %d\r\n" % len(body)) + body)
            assert await self._answer(reader) == b"%d" % len(body) or not body

    async def _fresh(self) -> None:
        """A connection for one call, with a header nobody else has."""
        async with self._connection() as (reader, writer):
            writer.write(self._head("GET", "/", b"X-Made-Up-%d: 1\r\n" % next(self._numbers)))
            await self._answer(reader)

    async def _download(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(self._get("/streams/download/3000000"))
            await self._answer(reader)

    async def _upload(self) -> None:
        """Chunks of all sizes."""
        async with self._connection() as (reader, writer):
            writer.write(self._head("POST", "/streams/upload", b"Transfer-Encoding: chunked\r\n"))
            for _ in range(40):
                piece = bytes(self._random.randrange(1, 50_000))
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            await self._answer(reader)

    async def _chat(self) -> None:
        """A WebSocket; half of the callers hang up without a word."""
        async with self._connection() as (reader, writer):
            writer.write(self._head("GET", "/chat", _UPGRADE))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            for _ in range(100):
                writer.write(bytes((0x81, 0x80 | len(_MESSAGE), 0, 0, 0, 0)) + _MESSAGE)
                assert await reader.readexactly(2 + len(_MESSAGE)) == bytes((0x81, len(_MESSAGE))) + _MESSAGE
            if self._random.random() < 0.5:
                _reset(writer)

    # -- others ------------------------------------------------------------------------------------------

    async def _sip(self) -> None:
        """Asks for much, takes little, and goes."""
        async with self._connection(buffer_bytes=4096) as (reader, writer):
            writer.write(self._get("/streams/download/50000000"))
            for _ in range(20):
                assert await reader.read(1000)
                await asyncio.sleep(0.05)
            _reset(writer)

    async def _leave(self) -> None:
        """Hangs up within an upload, or within an answer."""
        async with self._connection() as (reader, writer):
            if self._random.random() < 0.5:
                writer.write(self._head("POST", "/streams/upload", b"Content-Length: 1000000\r\n"))
                writer.write(bytes(self._random.randrange(500_000)))
            else:
                writer.write(self._get("/streams/download/10000000"))
                await reader.read(100_000)
            _reset(writer)

    async def _nonsense(self) -> None:
        """Is refused, in one way or another."""
        async with self._connection() as (reader, writer):
            writer.write(self._random.choice(_BAD))
            answer = await reader.read(100)
            assert answer.startswith(b"HTTP/1.1 4"), answer
            _reset(writer)

    async def _silence(self) -> None:
        """Says nothing, or half of something, until the gateway has enough of it."""
        async with self._connection() as (reader, writer):
            writer.write(self._random.choice(_HALVES))
            answer = await reader.read(-1)
            assert not answer or answer.startswith(b"HTTP/1.1 408 "), answer

    # -- words -------------------------------------------------------------------------------------------

    def _head(self, method: str, path: str, lines: bytes = b"") -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: api\r\n".encode() + self._known + lines + b"\r\n"

    def _get(self, path: str) -> bytes:
        return self._head("GET", path)

    async def _answer(self, reader: Reader) -> bytes:
        """The body of an answer that has to be 200."""
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        self.calls += 1
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = b""
        while left:
            piece = await reader.read(min(left, 65536))
            assert piece, "the answer ended early"
            left -= len(piece)
            body = piece if len(body) > 1000 else body + piece
        return body

    @asynccontextmanager
    async def _connection(self, buffer_bytes: int = 0) -> AsyncIterator[tuple[Reader, Writer]]:
        plug = socket.socket()
        plug.setblocking(False)
        if buffer_bytes:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=plug, limit=65536)
        try:
            yield reader, writer
        finally:
            writer.close()


def _reset(writer: Writer) -> None:
    """What a caller does that dies."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()

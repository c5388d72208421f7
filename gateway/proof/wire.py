"""A caller's kept connection: just enough of HTTP/1.1 and WebSocket to see what arrives, and to leave rudely.

Nothing of it is shared with the gateway, and nothing is tried again behind the caller's back.
"""

from __future__ import annotations

import asyncio
import os
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping

HEAD_BYTES_MAX = 65536
WITHIN_S = 90.0
_MASK = b"\x11\x22\x33\x44"
TEXT, CLOSE = 0x81, 0x88


class Cut(Exception):
    """The connection ended before the answer did."""


class Answer:
    """An answer as far as it has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.whole = False

    @property
    def request_id(self) -> str:
        """The gateway's number for the call; empty if no head has come."""
        return self.headers.get("tollway-request-id", "")


class Line:
    """One connection, made when it is needed and made again when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """A request's head, and a body or its beginning. Cut when nobody listens."""
        try:
            if self._writer is None or self._writer.is_closing():
                self._reader, self._writer = await asyncio.open_connection(
                    "127.0.0.1", self._port, limit=HEAD_BYTES_MAX
                )
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self._writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
            await self._writer.drain()
        except OSError as error:
            self.drop()
            raise Cut from error

    async def send_more(self, data: bytes) -> None:
        """More of a body."""
        assert self._writer is not None
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Cut from error

    async def read(self, answer: Answer, enough: Callable[[Answer], bool] = lambda _: False) -> None:
        """Read into `answer` until it is whole, or until the caller has `enough` of its body. Cut."""
        assert self._reader is not None
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._read_head(self._reader, answer)
                if answer.status != 101:
                    await self._read_body(self._reader, answer, enough)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.drop()
            raise Cut from error
        if answer.headers.get("connection", "").lower() == "close":
            self.drop()

    async def _read_head(self, reader: asyncio.StreamReader, answer: Answer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer.status = int(head[0].split(" ")[1])
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            answer.headers[name.lower()] = value.strip()

    async def _read_body(
        self, reader: asyncio.StreamReader, answer: Answer, enough: Callable[[Answer], bool]
    ) -> None:
        if answer.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                answer.body += await reader.readexactly(size)
                await reader.readexactly(2)
                if enough(answer):
                    return
            await reader.readuntil(b"\r\n")
        else:
            left = int(answer.headers.get("content-length", "0"))
            while left:
                piece = await reader.read(min(left, 65536))
                if not piece:
                    raise asyncio.IncompleteReadError(bytes(answer.body), left)
                answer.body += piece
                left -= len(piece)
                if enough(answer):
                    return
        answer.whole = True

    async def say(self, text: bytes) -> bytes:
        """Send a WebSocket message and read one. Cut."""
        await self._frame(TEXT, text)
        kind, payload = await self._read_frame()
        if kind != TEXT:
            raise Cut
        return payload

    async def say_goodbye(self) -> None:
        """The closing handshake. Cut when the other side does not take part."""
        await self._frame(CLOSE, struct.pack("!H", 1000))
        kind, _ = await self._read_frame()
        self.drop()
        if kind != CLOSE:
            raise Cut

    async def _frame(self, kind: int, payload: bytes) -> None:
        assert len(payload) < 126
        masked = bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))
        await self.send_more(bytes((kind, 0x80 | len(payload))) + _MASK + masked)

    async def _read_frame(self) -> tuple[int, bytes]:
        assert self._reader is not None
        try:
            async with asyncio.timeout(WITHIN_S):
                kind, size = await self._reader.readexactly(2)
                return kind, await self._reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.drop()
            raise Cut from error

    def drop(self) -> None:
        """Leave at once: what is under way is reset."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.transport.abort()


def websocket_key() -> str:
    """A key for the opening handshake; nobody checks that it is random."""
    return b64encode(os.urandom(16)).decode()

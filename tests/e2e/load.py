"""Callers that never pause, over connections that are kept and over new ones, and an upstream for them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

BODY = b"x" * 3000


class Upstream:
    """Answers at once with what it was sent; `/slow` takes its time, `/hold` waits until it is told."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: Counter[str] = Counter()  # targets

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                body = await reader.readexactly(_length(head))
                self.seen[target] += 1
                if target.startswith("/slow"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
                    for _ in range(10):
                        writer.write(b"ab")
                        await asyncio.sleep(0.05)
                else:
                    body = body or target.encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


@dataclass
class Load:
    """What happened to the calls. `lost` says of each that was not answered well what became of it."""

    port: int
    secret: str
    answered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    refused: int = 0  # connections that were not taken
    is_over: bool = False
    ends_when_refused: bool = False  # the gateway is being stopped: a refused connection is its end
    tls: ssl.SSLContext | None = None  # for localhost

    async def kept(self, target: str, pause_s: float = 0.0) -> None:
        """One caller who keeps its connection as long as it is let, as HTTP clients do."""
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.is_over:
            connection = connection or await self._connect()
            if connection is None:
                continue
            if connection[0].at_eof() or not await self._call(connection, target, b""):
                connection[1].close()
                connection = None
            if pause_s:
                await asyncio.sleep(pause_s)
        if connection is not None:
            connection[1].close()

    async def fresh(self, target: str, body: bytes = b"") -> None:
        """One caller who connects anew for each call."""
        while not self.is_over:
            connection = await self._connect()
            if connection is not None:
                await self._call(connection, target, body)
                connection[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            name = "localhost" if self.tls is not None else None
            return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, server_hostname=name)
        except OSError as error:
            self.refused += 1
            if self.ends_when_refused:
                self.is_over = True
            else:
                self.lost.append(f"not connected: {error!r}")
            return None

    async def _call(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], target: str, body: bytes
    ) -> bool:
        """One call and its whole answer; whether the connection may be used again."""
        reader, writer = connection
        head = f"{'POST' if body else 'GET'} {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {self.secret}\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        got = b""
        try:
            async with asyncio.timeout(30):
                writer.write(head.encode() + b"\r\n" + body)
                got = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(got))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.lost.append(f"{target}: {error!r} behind {got!r}")
            return False
        self.answered += 1
        self.statuses[int(got.split(b" ", 2)[1])] += 1
        return b"connection: close" not in got.lower()


@dataclass
class Loop:
    """An event loop in a thread, for tests that do something else meanwhile."""

    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    @contextmanager
    def load(
        self,
        port: int,
        secret: str,
        callers: Callable[[Load], list[Coroutine[Any, Any, None]]],
        tls: ssl.SSLContext | None = None,
    ) -> Iterator[Load]:
        """Callers at work inside the block; the block must not end before they are to end."""
        load = Load(port, secret, tls=tls)

        async def together() -> None:
            await asyncio.gather(*callers(load))

        working = asyncio.run_coroutine_threadsafe(together(), self.loop)
        try:
            yield load
        finally:
            load.is_over = True
            working.result(60)


def everybody(load: Load) -> list[Coroutine[Any, Any, None]]:
    """Kept and new connections, small and large, quick and slow ones, and one that speaks now and then."""
    return [
        *(load.kept("/kept") for _ in range(8)),
        *(load.fresh("/fresh") for _ in range(8)),
        *(load.fresh("/fresh", BODY) for _ in range(2)),
        *(load.kept("/slow") for _ in range(3)),
        load.kept("/seldom", pause_s=0.3),
    ]


@contextmanager
def looping() -> Iterator[Loop]:
    """A loop in a thread, until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Loop(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end_tasks())
        loop.close()


async def _end_tasks() -> None:
    """What is still open is closed, and noticed by its transport, before the loop is gone."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)

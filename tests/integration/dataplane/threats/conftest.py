"""An honest client beside every attack, and a network that misbehaves."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from gateway.storage.postgres import Pool, connect_pool
from tests.integration.dataplane.conftest import (
    MakeProxy,
    Proxy,
    Script,
    ScriptedUpstream,
    close_all,
    read_head,
)

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
HONEST = b"/honest/"


def statuses(answers: bytes) -> list[int]:
    """The status codes of a stream of answers whose bodies hold no status lines."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answers)]


def targets(upstream: ScriptedUpstream) -> list[bytes]:
    """What the upstream was asked for, in order; honest calls are left out."""
    return [head.split(b" ")[1] for head in upstream.heads]


def lines_of(head: bytes, name: bytes) -> list[bytes]:
    """The values of a header in a head, whatever its case."""
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return [value.strip() for field_name, _, value in lines if field_name.strip().lower() == name.lower()]


async def read_body(head: bytes, reader: Reader) -> bytes:
    """The body of a request that the gateway has framed."""
    if lengths := lines_of(head, b"content-length"):
        return await reader.readexactly(int(lengths[0]))
    body = b""
    if lines_of(head, b"transfer-encoding"):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    return body


async def read_all(reader: Reader) -> bytes:
    """Everything until the end; unlike `reader.read(-1)` it hears of a reset that comes behind bytes."""
    seen = []
    while data := await reader.read(65536):
        seen.append(data)
    return b"".join(seen)


async def eventually(check: Callable[[], object]) -> None:
    """Let the others run until `check` holds."""
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0)


class _ScriptChanged(Exception):
    """The test has set another script since this connection was made."""


@dataclass
class _Connection:
    writer: Writer
    script: Script
    pending: bytes = b""


class WitnessedUpstream(ScriptedUpstream):
    """Answers the honest client by itself, on whatever connection it comes; the rest is the script's."""

    def __init__(self) -> None:
        super().__init__()
        self._served: dict[Reader, _Connection] = {}

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        served = self._served[reader] = _Connection(writer, self.script)
        self.connections += 1
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            changed = True
            while changed:
                served.script = self.script
                try:
                    await served.script(reader, writer)
                    changed = False
                except _ScriptChanged:
                    changed = True
        writer.close()

    async def head(self, reader: Reader) -> bytes:
        served = self._served[reader]
        head, served.pending = served.pending, b""
        while not head:
            head = await read_head(reader)
            target = head.split(b" ")[1]
            if target.startswith(HONEST):
                served.writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target)
                )
                head = b""
        if served.script != self.script:
            served.pending = head
            raise _ScriptChanged
        self.heads.append(head)
        return head


class Honest:
    """A client that does everything right, on one connection, and checks every byte it gets."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._numbers = itertools.count(1)
        self._streams: tuple[Reader, Writer] | None = None

    async def call(self) -> None:
        if self._streams is None or self._streams[0].at_eof():  # the test may have made idle waits short
            self._streams = await self._proxy.connect_as_asked()
        reader, writer = self._streams
        target = b"%b%d" % (HONEST, next(self._numbers))
        writer.write(b"GET %b HTTP/1.1\r\nHost: honest.example\r\n\r\n" % target)
        async with asyncio.timeout(20):
            head = await read_head(reader)
            body = await reader.readexactly(len(target))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert lines_of(head, b"content-length") == [b"%d" % len(target)]
        assert body == target


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """For threats to what is looked up."""
    made = await connect_pool(database_url)
    yield made
    made.terminate()


@pytest.fixture
def upstream_type() -> type[ScriptedUpstream]:
    return WitnessedUpstream


@pytest.fixture
async def make_proxy(make_proxy: MakeProxy) -> AsyncIterator[MakeProxy]:
    """Proxies with an honest client before and after what the test does; its calls are not counted."""
    clients: list[Honest] = []

    async def make(*, is_watched: bool = True, **options: object) -> Proxy:
        proxy = await make_proxy(**options)
        if not is_watched:  # nobody could be served through what is between gateway and upstream
            return proxy
        clients.append(Honest(proxy))
        await clients[-1].call()
        await proxy.ended(1)
        proxy.exchanges.clear()
        return proxy

    yield make
    for client in clients:
        await client.call()


@pytest.fixture
async def honest(proxy: Proxy) -> Honest:
    """One more honest client, for calls in the middle of an attack."""
    return Honest(proxy)


@dataclass(frozen=True)
class Fault:
    """What happens to one direction of a connection. The default passes everything at once.

    It strikes after so many bytes, or behind a mark, on each connection that gets there; others pass.
    """

    piece_bytes: int = 65536
    after_bytes: int | None = None
    after: bytes = b""
    then: str = (
        "drop"  # drop: pass no more · hold: until let go · half-close: send FIN · close: both ways · reset
    )

    def cut(self, passed: bytes, data: bytes) -> int | None:
        """How many of these bytes pass before it strikes; None: all, and it does not strike yet."""
        if self.after_bytes is not None and len(passed) + len(data) >= self.after_bytes:
            return self.after_bytes - len(passed)
        if self.after and self.after in (both := passed + data):
            return both.index(self.after) + len(self.after) - len(passed)
        return None


@dataclass
class FaultyNetwork:
    """Listens in front of a port and spoils what passes. `struck` when it has, `let_go` ends a delay."""

    to_port: int
    forth: Fault = Fault()
    back: Fault = Fault()
    port: int = 0
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _writers: list[Writer] = field(default_factory=list)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.let_go.set()
        await close_all(self._writers)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        self._writers += (writer, far_writer)
        await asyncio.gather(
            self._pass(reader, far_writer, self.forth, writer),
            self._pass(far_reader, writer, self.back, far_writer),
        )

    async def _pass(self, source: Reader, sink: Writer, fault: Fault, opposite: Writer) -> None:
        passed = b""
        try:
            while data := await source.read(fault.piece_bytes):
                cut = fault.cut(passed, data)
                passed += data
                sink.write(data[:cut])
                await sink.drain()
                if fault.piece_bytes < 100:
                    await asyncio.sleep(0)  # the receiver takes each piece by itself
                if cut is not None:
                    self.struck.set()
                    if fault.then != "hold":
                        return self._strike(fault, sink, opposite)
                    await self.let_go.wait()
                    sink.write(data[cut:])
                    fault = Fault()
            sink.write_eof()
        except ConnectionError:
            reset(sink)
            reset(opposite)

    @staticmethod
    def _strike(fault: Fault, sink: Writer, opposite: Writer) -> None:
        if fault.then == "half-close":
            sink.write_eof()
        elif fault.then == "close":
            sink.close()
            opposite.close()
        elif fault.then == "reset":
            reset(sink)
            reset(opposite)


def reset(writer: Writer) -> None:
    """End a connection with RST."""
    plug: socket.socket | None = writer.get_extra_info("socket")
    if plug is not None:  # a transport of uvloop that is closed has none any more
        with suppress(OSError):
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


MakeNetwork = Callable[..., Awaitable[FaultyNetwork]]


@pytest.fixture
async def make_network() -> AsyncIterator[MakeNetwork]:
    made: list[FaultyNetwork] = []

    async def make(to_port: int, **faults: Fault) -> FaultyNetwork:
        network = FaultyNetwork(to_port, **faults)  # type: ignore[arg-type]  # `forth` and `back`
        await network.start()
        made.append(network)
        return network

    yield make
    for network in made:
        await network.stop()

"""T5: what the gateway holds for a connection is bounded, whatever its two ends do or leave undone.

Callers are bare sockets, so nearly all that Python has allocated here is the gateway's. What an upstream of
the tests holds of a call (two windows of 64 kB) is within the bounds.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Honest, Reader, Writer, eventually, statuses

CALL = (
    b"GET /projects?page=1 HTTP/1.1\r\nHost: api.example\r\nUser-Agent: client/1.0\r\nAccept: */*\r\n"
    b"Authorization: Bearer tw_live_0123456789abcdefghijklmnopqrstuvwxyz\r\n"
    b"X-Trace: 0123456789abcdef0123456789abcdef\r\n\r\n"
)
IDLE_BYTES = 20_000
STREAM_BYTES = 600_000
"""Held for a stream that one end does not take: what is waiting to be written, and what was read last."""


@pytest.fixture(autouse=True)
def many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))


class Callers:
    """Sockets without a buffer of ours, and how much has been allocated since they were made."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.sockets: list[socket.socket] = []
        self._before = 0

    async def come(self, count: int, first_words: bytes = b"") -> None:
        self._before = self._allocated()
        loop = asyncio.get_running_loop()
        for _ in range(count):
            plug = socket.socket()
            self.sockets.append(plug)
            plug.setblocking(False)
            await loop.sock_connect(plug, ("127.0.0.1", self._proxy.port))
            await loop.sock_sendall(plug, first_words)

    def held_bytes(self) -> int:
        """For each of them."""
        self._proxy.exchanges.clear()  # the test's own notes
        self._proxy.upstream.heads.clear()
        return (self._allocated() - self._before) // len(self.sockets)

    @staticmethod
    def _allocated() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def send(self, data: bytes) -> int:
        """Send as much of this as each takes; how much that was."""
        sent = 0
        for plug in self.sockets:
            with suppress(BlockingIOError, ConnectionError):
                sent += plug.send(data)
        return sent

    def read(self) -> bytes:
        """What has come for any of them."""
        seen = b""
        for plug in self.sockets:
            with suppress(BlockingIOError, ConnectionError):
                seen += plug.recv(1_000_000)
        return seen

    def leave(self) -> None:
        for plug in self.sockets:
            plug.close()


@pytest.fixture
def callers(proxy: Proxy) -> Iterator[Callers]:
    tracemalloc.start()
    made = Callers(proxy)
    yield made
    made.leave()
    tracemalloc.stop()


async def until_still(progress: Callable[[], int]) -> None:
    """Until all that can move has moved."""
    before = -1
    while before != (now := progress()):
        before = now
        for _ in range(1500):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("case", "words"), [("silent", b""), ("after a call", CALL), ("in a head", CALL[:90])]
)
async def test_a_thousand_idle_connections(case: str, words: bytes, proxy: Proxy, callers: Callers) -> None:
    await callers.come(1000, words)
    await eventually(lambda: proxy.slots.get("connections") == 1001)
    if words == CALL:
        await proxy.ended(1000)
    await Honest(proxy).call()
    assert callers.held_bytes() <= IDLE_BYTES


@pytest.mark.parametrize("piece", [b"x" * 60_000, b"A: b\r\n" * 10_000], ids=["one line", "many lines"])
async def test_heads_of_answers_that_do_not_end(
    piece: bytes, proxy: Proxy, callers: Callers, upstream: ScriptedUpstream
) -> None:
    """Envoy's rule, too: never a hundred times what was sent."""
    sent = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: " + piece)
        await writer.drain()
        sent += len(piece)
        await reader.read(1)

    upstream.script = script
    await callers.come(20, CALL)
    await until_still(lambda: sent)
    await Honest(proxy).call()
    assert sent == 20 * len(piece)
    assert callers.held_bytes() <= 30 * len(piece)


async def test_callers_that_do_not_read_a_large_answer(
    proxy: Proxy, callers: Callers, upstream: ScriptedUpstream
) -> None:
    sent = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        piece = bytes(65536)
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    upstream.script = script
    await callers.come(10, CALL)
    await until_still(lambda: sent)
    await Honest(proxy).call()
    assert sent > 10 * STREAM_BYTES  # far more than is held has been sent, into the kernel's buffers
    assert callers.held_bytes() <= STREAM_BYTES


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_uploads_that_an_upstream_does_not_read(
    framing: bytes, proxy: Proxy, callers: Callers, upstream: ScriptedUpstream
) -> None:
    over = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        await over.wait()

    upstream.script = script
    await callers.come(10, b"POST /a HTTP/1.1\r\nHost: x\r\n" + framing)
    piece = b"ffff\r\n" + bytes(65535) + b"\r\n" if b"chunked" in framing else bytes(65536)
    sent = 0

    def progress() -> int:
        nonlocal sent
        sent += callers.send(piece)
        return sent

    await until_still(progress)
    await Honest(proxy).call()
    assert sent > 10 * STREAM_BYTES
    assert callers.held_bytes() <= STREAM_BYTES
    over.set()


@pytest.mark.parametrize(
    ("case", "calls"),
    [
        ("and read nothing", b"GET /deny HTTP/1.1\r\nHost: x\r\n\r\n" * 1000),
        ("and are not answered", b"GET /slow-auth HTTP/1.1\r\nHost: x\r\n\r\n" * 1000),
    ],
)
async def test_callers_that_pipeline_for_ever(
    case: str, calls: bytes, proxy: Proxy, callers: Callers
) -> None:
    await callers.come(1)
    sent = 0

    def progress() -> int:
        nonlocal sent
        proxy.exchanges.clear()
        sent += callers.send(calls)
        return sent

    await until_still(progress)
    await Honest(proxy).call()
    assert sent > 1_000_000
    # What is parsed ahead, at most 64 kB of calls, counts with its objects.
    assert callers.held_bytes() <= 64_000 * 20
    proxy.gate.set()


async def test_a_caller_that_pipelines_for_ever_and_reads_costs_the_same_all_the_time(
    proxy: Proxy, callers: Callers
) -> None:
    await callers.come(1)
    answered, held = 0, []
    for at_least in range(500, 5500, 500):
        while answered < at_least:
            callers.send(CALL * 20)
            await asyncio.sleep(0)
            answered += callers.read().count(b"HTTP/1.1 200 OK\r\n")
        held.append(callers.held_bytes())
    assert max(held) <= STREAM_BYTES
    await Honest(proxy).call()


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("one long line", b"X-A: " + b"a" * 60_000),
        ("many short lines", b"Xa: bc\r\n" * 7_500),
        ("many lines of different names", b"".join(b"X%04d: b\r\n" % number for number in range(6000))),
    ],
)
async def test_heads_just_below_the_limit(case: str, line: bytes, proxy: Proxy, callers: Callers) -> None:
    """What they cost until their time is over is a small multiple of what was sent, and then it is gone."""
    words = b"GET / HTTP/1.1\r\nHost: x\r\n" + line
    await callers.come(50, words)
    await eventually(lambda: proxy.slots.get("connections") == 51)
    await until_still(lambda: 0)
    assert callers.held_bytes() <= IDLE_BYTES + 40 * len(words)
    await Honest(proxy).call()
    callers.send(b"\r\nX-B: " + b"b" * 9000)
    refused = b""
    while len(statuses(refused)) < 50:
        await asyncio.sleep(0)
        refused += callers.read()
    assert set(statuses(refused)) == {431}
    callers.leave()
    await eventually(lambda: proxy.slots.get("connections") <= 2)  # honest ones
    assert callers.held_bytes() <= IDLE_BYTES

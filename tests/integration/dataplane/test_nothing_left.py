"""A connection that has ended is gone: no garbage collector has to come for it, however it ended."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from httptools import HttpRequestParser, HttpResponseParser

from gateway.dataplane.connection import Connection
from gateway.dataplane.waits import Waits
from gateway.model.exchange import Exchange
from gateway.model.policies import Timeouts
from gateway.upstream.connection import UpstreamConnection
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream

KINDS = (Connection, Exchange, UpstreamConnection, HttpRequestParser, HttpResponseParser)
_RESET = struct.pack("ii", 1, 0)
_UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


def there() -> Counter[str]:
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS))


@pytest.fixture
def before() -> Iterator[Counter[str]]:
    """What is there before the test. From now on nobody collects."""
    gc.collect()
    gc.freeze()  # nor is it looked through again
    gc.disable()
    yield there()
    gc.enable()


async def said(proxy: Proxy, raw: bytes) -> None:
    """A caller that says this, hears something, and closes."""
    reader, writer = await proxy.connect()
    writer.write(raw)
    await reader.read(100)
    writer.close()


async def reset(proxy: Proxy, raw: bytes) -> None:
    """A caller that says this, and dies."""
    reader, writer = await proxy.connect()
    writer.write(raw)
    await asyncio.wait_for(reader.read(10), 5)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def silent(proxy: Proxy, raw: bytes) -> None:
    """A caller that says this and no more, until the gateway has enough of it."""
    reader, writer = await proxy.connect()
    writer.write(raw)
    with suppress(ConnectionResetError):
        await reader.read(-1)
    writer.close()


def head(start: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((start + b" HTTP/1.1", b"Host: a", *lines)) + b"\r\n\r\n"


Act = Callable[[Proxy], Awaitable[None]]
ACTS: list[tuple[str, Act]] = [
    ("a call", lambda proxy: said(proxy, head(b"GET /a"))),
    ("two calls at once", lambda proxy: said(proxy, head(b"GET /a") * 2)),
    ("an upload", lambda proxy: said(proxy, head(b"POST /a", b"Content-Length: 2") + b"hi")),
    (
        "a chunked upload",
        lambda proxy: said(proxy, head(b"POST /a", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ),
    ("no key", lambda proxy: said(proxy, head(b"GET /deny"))),
    ("no key, with a body", lambda proxy: said(proxy, head(b"POST /deny", b"Content-Length: 9") + b"hi")),
    ("a bad head", lambda proxy: said(proxy, head(b"GET /a", b"A : b"))),
    ("no HTTP", lambda proxy: said(proxy, b"\x16\x03\x01\x02\x00\x01\x00" * 300)),
    ("a large head", lambda proxy: said(proxy, head(b"GET /a", *[b"A: b"] * 20_000))),
    ("a bad chunk", lambda proxy: said(proxy, head(b"POST /a", b"Transfer-Encoding: chunked") + b"zz\r\n")),
    ("a made-up method", lambda proxy: said(proxy, head(b"YOINK /a"))),
    ("half a head", lambda proxy: silent(proxy, b"GET /a HTTP/1.1\r\nHo")),
    ("half a body", lambda proxy: silent(proxy, head(b"POST /a", b"Content-Length: 9") + b"hi")),
    ("silence", lambda proxy: silent(proxy, b"")),
    ("a tunnel", lambda proxy: said(proxy, _UPGRADE)),
    ("a tunnel that is reset", lambda proxy: reset(proxy, _UPGRADE)),
    ("a download that is reset", lambda proxy: reset(proxy, head(b"GET /long"))),
    ("a call behind which an upstream closes", lambda proxy: said(proxy, head(b"GET /closes"))),
    ("an upstream that breaks off", lambda proxy: silent(proxy, head(b"GET /breaks"))),
    ("an upstream that says nonsense", lambda proxy: said(proxy, head(b"GET /nonsense"))),
    ("an upstream that is silent", lambda proxy: said(proxy, head(b"GET /silent"))),
]


async def answer(
    upstream: ScriptedUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while True:
        asked = await upstream.head(reader)
        target = asked.split(b" ")[1]
        if b"pgrade: chat" in asked:
            writer.write(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhello")
            await reader.read(-1)
            return
        if target == b"/silent":
            await reader.read(-1)
            return
        if target == b"/nonsense":
            writer.write(b"HTTP/1.1 nonsense\r\n\r\n")
        elif target in (b"/long", b"/breaks"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + bytes(100_000))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if target in (b"/breaks", b"/closes"):
            return


@pytest.mark.parametrize(("case", "act"), ACTS, ids=[case for case, _ in ACTS])
async def test_nothing_is_left_of_it(
    make_proxy: MakeProxy, upstream: ScriptedUpstream, before: Counter[str], case: str, act: Act
) -> None:
    upstream.script = lambda reader, writer: answer(upstream, reader, writer)
    waits = Waits(head_s=0.2, body_s=0.2)
    proxy = await make_proxy(waits=waits, timeouts=Timeouts(response_s=0.2, idle_s=0.2))
    for _ in range(3):
        await act(proxy)
    async with asyncio.timeout(5):
        while proxy.server._open:
            await asyncio.sleep(0)
    proxy._forwarder.close()
    proxy.exchanges.clear()
    async with asyncio.timeout(5):
        while proxy.slots.get("upstream_connections"):
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert there() == before, case

"""Other protocols in a tunnel: asked for, switched to, ended; refused like anything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import aiohttp
import pytest
from aiohttp import web

from gateway.dataplane import connection
from gateway.model.policies import Timeouts
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter

ASK = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo/1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo/1\r\nX-Kept: 1\r\n\r\n"


async def echo(upstream: ScriptedUpstream, reader: Reader, writer: Writer) -> None:
    await upstream.head(reader)
    writer.write(SWITCH)
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")


@pytest.fixture
def echoing(upstream: ScriptedUpstream) -> ScriptedUpstream:
    upstream.script = lambda reader, writer: echo(upstream, reader, writer)
    return upstream


async def test_the_upstream_is_asked_and_the_caller_told(proxy: Proxy, echoing: ScriptedUpstream) -> None:
    reader, writer = await proxy.connect()
    writer.write(ASK)
    head = await read_head(reader)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Upgrade: echo/1\r\n" in head
    assert b"Connection: upgrade\r\n" in head
    assert b"X-Kept: 1\r\n" in head
    assert b"Connection: upgrade\r\nUpgrade: echo/1\r\n" in echoing.heads[0]
    writer.close()


async def test_bytes_pass_both_ways_and_each_way_ends_by_itself(
    proxy: Proxy, echoing: ScriptedUpstream
) -> None:
    reader, writer = await proxy.connect()
    writer.write(ASK + b"early ")
    await read_head(reader)
    assert await reader.readexactly(6) == b"early "
    for _ in range(3):
        writer.write(b"\x00GET / HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(19) == b"\x00GET / HTTP/1.1\r\n\r\n"
    writer.write_eof()
    assert await reader.read(-1) == b"bye"
    exchange = (await proxy.ended(1))[0]
    assert (exchange.outcome, exchange.status) == (Outcome.SERVED, 101)
    assert (exchange.ingress_bytes, exchange.egress_bytes) == (6 + 57, 6 + 57 + 3)


async def test_the_upstream_may_end_first(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCH + b"last words")
        writer.write_eof()
        heard.set_result(await reader.read(-1))

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(ASK)
    await read_head(reader)
    assert await reader.read(-1) == b"last words"
    writer.write(b"so long")
    writer.write_eof()
    assert await proxy.outcome() is Outcome.SERVED
    assert await asyncio.wait_for(heard, 5) == b"so long"


@pytest.mark.parametrize("first", ["caller", "upstream"])
async def test_a_tunnel_that_both_have_ended_is_not_kept(
    first: str, proxy: Proxy, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing more to come from a caller that has sent its last byte."""
    monkeypatch.setattr(connection, "LINGER_S", 3600.0)

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCH + b"hello")
        if first == "caller":
            await reader.read(-1)
        writer.write_eof()
        await reader.read(-1)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(ASK)
    await read_head(reader)
    await reader.readexactly(5)
    if first == "upstream":
        assert await reader.read(-1) == b""
    writer.write_eof()
    assert await reader.read(-1) == b""
    assert await proxy.outcome() is Outcome.SERVED
    async with asyncio.timeout(5):
        while proxy.slots.get("connections"):
            await asyncio.sleep(0)


async def test_a_caller_that_vanishes_ends_the_tunnel(proxy: Proxy, echoing: ScriptedUpstream) -> None:
    reader, writer = await proxy.connect()
    writer.write(ASK)
    await read_head(reader)
    writer.transport.abort()
    assert await proxy.outcome() in (Outcome.SERVED, Outcome.CLIENT_ABORTED)
    async with asyncio.timeout(5):
        while proxy.slots.get("upstream_connections"):
            await asyncio.sleep(0)


async def test_a_silent_tunnel_is_cut(make_proxy: MakeProxy, echoing: ScriptedUpstream) -> None:
    proxy = await make_proxy(timeouts=Timeouts(idle_s=0.2))
    reader, writer = await proxy.connect()
    writer.write(ASK)
    await read_head(reader)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert await proxy.outcome() is Outcome.TIMEOUT


async def test_an_upstream_that_does_not_switch_just_answers(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
    answer = await proxy.exchange(ASK + b"early")
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert answer.endswith(b"no")
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("case", "raw"),
    [
        ("another connection header", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo/1\r\n\r\n"),
        ("no protocol", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n"),
    ],
)
async def test_a_switch_that_is_none_is_502(
    case: str, raw: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(raw)
    assert (await proxy.exchange(ASK)).startswith(b"HTTP/1.1 502 ")


async def test_without_a_key_there_is_no_tunnel(proxy: Proxy, echoing: ScriptedUpstream) -> None:
    answer = await proxy.exchange(ASK.replace(b"/chat", b"/deny") + b"early")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert echoing.heads == []


async def test_a_body_and_another_protocol_do_not_go_together(
    proxy: Proxy, echoing: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(ASK.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert echoing.heads == []


async def test_a_slow_reader_holds_a_tunnel_back(proxy: Proxy, echoing: ScriptedUpstream) -> None:
    reader, writer = await proxy.connect()
    writer.write(ASK)
    await read_head(reader)
    sent = 0
    try:
        async with asyncio.timeout(0.7):
            while True:  # never reading what comes back
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536
    except TimeoutError:
        assert sent < 100_000_000
    writer.transport.abort()
    await proxy.ended(1)


@pytest.fixture
async def chat() -> AsyncIterator[int]:
    """aiohttp's WebSocket server, echoing; its port."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("echo",), compress=True)
        await socket.prepare(request)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data.upper())
            else:
                await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/chat", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port
    await runner.cleanup()


async def test_real_websockets_pass(upstream: ScriptedUpstream, make_proxy: MakeProxy, chat: int) -> None:
    await upstream.stop()
    upstream.port = chat
    proxy = await make_proxy()
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{proxy.port}/chat"
        async with session.ws_connect(url, protocols=("echo",), compress=15) as socket:
            assert socket.protocol == "echo"
            await socket.send_str("hello")
            assert await socket.receive_str() == "HELLO"
            large = bytes(range(256)) * 4096
            await socket.send_bytes(large)
            assert await socket.receive_bytes() == large
            await socket.ping()
            assert await socket.close()
    assert await proxy.outcome() is Outcome.SERVED

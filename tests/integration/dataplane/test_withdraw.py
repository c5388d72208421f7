"""A call whose caller lost its right while it was open: told in order where that is possible, else cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeAlias

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.errors import AccountSuspended, Unauthenticated
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter

ASK = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n"


@pytest.fixture
async def chat(upstream: ScriptedUpstream) -> AsyncIterator[asyncio.Queue[int]]:
    """A WebSocket server in the upstream's place, echoing; the codes its connections ended with."""
    codes: asyncio.Queue[int] = asyncio.Queue()

    async def echo(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)
        codes.put_nowait(socket.close_code or 0)

    await upstream.stop()
    async with serve(echo, "127.0.0.1", 0) as server:
        upstream.port = server.sockets[0].getsockname()[1]
        yield codes


async def test_a_websocket_is_closed_with_1008(chat: asyncio.Queue[int], make_proxy: MakeProxy) -> None:
    proxy = await make_proxy()
    async with connect(f"ws://127.0.0.1:{proxy.port}/chat") as socket:
        for message in ("one", os.urandom(150_000), ["in ", "three ", "pieces"]):
            await socket.send(message)
            expected = "".join(message) if isinstance(message, list) else message
            assert await socket.recv() == expected
        await (await socket.ping())
        proxy.connection.withdraw(Unauthenticated())
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1008, "unauthenticated")
    (exchange,) = await proxy.ended(1)
    assert exchange.outcome is Outcome.ACCESS_ENDED
    assert exchange.conversation is not None
    assert (exchange.conversation.ingress.messages, exchange.conversation.egress.messages) == (3, 3)
    assert exchange.egress_bytes > 150_000
    assert await asyncio.wait_for(chat.get(), 5) != 1000, "to the upstream the caller is gone"


async def test_within_a_frame_of_the_upstream_it_is_cut(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCH % b"websocket" + b"\x82\x05ab")
        await reader.read(-1)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(ASK % b"websocket")
    await read_head(reader)
    assert await reader.readexactly(4) == b"\x82\x05ab"
    proxy.connection.withdraw(AccountSuspended())
    with pytest.raises(ConnectionError):
        await reader.read(-1)
    assert await proxy.outcome() is Outcome.ACCESS_ENDED


async def test_an_upstream_that_has_ended_its_way_leaves_nothing_to_put_in(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCH % b"websocket" + b"\x81\x02hi")
        writer.write_eof()
        await reader.read(-1)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(ASK % b"websocket")
    await read_head(reader)
    assert await reader.read(-1) == b"\x81\x02hi"
    proxy.connection.withdraw(AccountSuspended())
    assert await proxy.outcome() is Outcome.ACCESS_ENDED


async def test_another_protocol_is_cut_and_its_messages_are_nobodys(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCH % b"echo/1" + b"\x81\x02hi")
        await reader.read(-1)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(ASK % b"echo/1")
    await read_head(reader)
    assert await reader.readexactly(4) == b"\x81\x02hi"
    proxy.connection.withdraw(Unauthenticated())
    with pytest.raises(ConnectionError):
        await reader.read(-1)
    (exchange,) = await proxy.ended(1)
    assert (exchange.outcome, exchange.egress_bytes) == (Outcome.ACCESS_ENDED, 4)
    assert exchange.conversation is None


async def test_bytes_that_are_no_frames_pass_as_they_are(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    nonsense = bytes(range(256)) * 300

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCH % b"WebSocket")
        while data := await reader.read(1000):
            writer.write(data)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(ASK % b"websocket" + nonsense)
    await read_head(reader)
    assert await reader.readexactly(len(nonsense)) == nonsense
    writer.write_eof()
    assert await reader.read(-1) == b""
    (exchange,) = await proxy.ended(1)
    assert (exchange.outcome, exchange.ingress_bytes) == (Outcome.SERVED, len(nonsense))
    assert exchange.conversation is not None
    assert exchange.conversation.ingress.is_lost


async def test_an_answer_that_has_begun_is_cut(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8\r\ndata: 1\n\r\n"
    )
    reader, writer = await proxy.connect()
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    await read_head(reader)
    assert b"data: 1" in await reader.read(100)
    proxy.connection.withdraw(Unauthenticated())
    with pytest.raises(ConnectionError):
        await reader.read(-1)
    (exchange,) = await proxy.ended(1)
    assert (exchange.outcome, exchange.status, exchange.egress_bytes) == (Outcome.ACCESS_ENDED, 200, 8)


async def test_an_upload_is_refused_as_a_new_call_would_be(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        came.set_result(await reader.readexactly(1000))
        await reader.read(-1)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(b"PUT /file HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000))
    await came
    proxy.connection.withdraw(Unauthenticated())
    head = await read_head(reader)
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close\r\n" in head
    (exchange,) = await proxy.ended(1)
    assert (exchange.outcome, exchange.ingress_bytes) == (Outcome.UNAUTHENTICATED, 1000)


async def test_a_connection_without_a_call_is_left_alone(proxy: Proxy) -> None:
    reader, writer = await proxy.connect()
    for number in (1, 2):
        writer.write(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        await read_head(reader)
        assert await reader.readexactly(2) == b"/%d" % number
        proxy.connection.withdraw(Unauthenticated())
    assert [exchange.outcome for exchange in proxy.exchanges] == [Outcome.SERVED] * 2

"""Messages of a WebSocket that are larger than their route takes end it, and both sides are told."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.frames import MessageBounds
from gateway.model.usage import billable
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Reader, Writer, eventually

KB = 1000
BOTH = {"max_message": MessageBounds(10 * KB, 20 * KB)}
ASK = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
MASKED = b"\x81\x82\0\0\0\0hi"


class Chat:
    """What a WebSocket server in the upstream's place received, and how its connections ended."""

    def __init__(self) -> None:
        self.bytes = 0
        self.ends: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def serve(self, socket: ServerConnection) -> None:
        """Answers a number with so many bytes, and anything else with its length."""
        with suppress(ConnectionClosed):
            async for message in socket:
                self.bytes += len(message)
                if isinstance(message, str) and message.isdigit():
                    await socket.send(os.urandom(int(message)))
                else:
                    await socket.send(str(len(message)))
        await socket.wait_closed()
        self.ends.put_nowait((socket.close_code, socket.close_reason))


@pytest.fixture
async def chat(upstream: ScriptedUpstream) -> AsyncIterator[Chat]:
    chat = Chat()
    await upstream.stop()
    async with serve(chat.serve, "127.0.0.1", 0, max_size=None) as server:
        upstream.port = server.sockets[0].getsockname()[1]
        yield chat


def calling(proxy: Proxy, **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{proxy.port}/chat", max_size=None, **options)


async def ended_with(socket: ClientConnection) -> tuple[int | None, str | None]:
    with suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code, socket.close_reason


async def test_what_is_within_the_bounds_passes(chat: Chat, make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(route=BOTH)
    async with calling(proxy, compression=None) as socket:
        for message in ("hello", os.urandom(10 * KB), [os.urandom(3 * KB)] * 3):
            await socket.send(message)
            size = sum(map(len, message)) if isinstance(message, list) else len(message)
            assert await socket.recv() == str(size)
        await socket.send(str(20 * KB))
        assert len(await socket.recv()) == 20 * KB
        await (await socket.ping())
    assert await chat.ends.get() == (1000, "")
    assert await proxy.outcome() is Outcome.SERVED
    assert proxy.slots.get("messages_refused_total", "ingress") == 0


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("in one frame", bytes(10 * KB + 1)),
        ("in fragments", [bytes(KB)] * 11),
        ("in tiny ones", [b"x"] * 2000),
    ],
)
async def test_a_caller_that_sends_too_much(
    case: str,
    message: bytes | list[bytes],
    chat: Chat,
    make_proxy: MakeProxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tollway.upstream")
    proxy = await make_proxy(route=BOTH)
    async with calling(proxy, compression=None) as socket:
        await socket.send("hello")
        assert await socket.recv() == "5"
        with suppress(ConnectionClosed):
            await socket.send(message)
        assert await ended_with(socket) == (1009, "message_too_large")
    assert await asyncio.wait_for(chat.ends.get(), 5) == (1001, "")
    assert chat.bytes == 5, "a message that is not whole was not seen"
    (exchange,) = await proxy.ended(1)
    assert exchange.outcome is Outcome.CLIENT_ABORTED
    assert billable(exchange.outcome, exchange.status)
    assert proxy.slots.get("messages_refused_total", "ingress") == 1
    (line,) = [record for record in caplog.records if "WebSocket" in record.message]
    assert line.message == "a WebSocket was closed for what its caller sent"
    assert (line.__dict__["code"], line.levelname) == ("message_too_large", "INFO")
    await eventually(lambda: proxy.slots.get("upstream_connections") == 0)


async def test_an_upstream_that_sends_too_much(
    chat: Chat, make_proxy: MakeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = await make_proxy(route=BOTH)
    async with calling(proxy, compression=None) as socket:
        await socket.send("100")
        assert len(await socket.recv()) == 100
        await socket.send("50000000")  # more than any buffer holds
        assert await ended_with(socket) == (1014, "message_too_large")
    code, reason = await asyncio.wait_for(chat.ends.get(), 5)
    assert (code, reason) == (1009, "message_too_large")
    (exchange,) = await proxy.ended(1)
    assert exchange.outcome is Outcome.UPSTREAM_ABORTED
    assert exchange.egress_bytes < 1_000_000
    assert proxy.slots.get("messages_refused_total", "egress") == 1
    (line,) = [record for record in caplog.records if "WebSocket" in record.message]
    assert (line.message, line.levelname) == ("a WebSocket was closed for what its upstream sent", "WARNING")
    await eventually(lambda: proxy.slots.get("upstream_connections") == 0)


async def test_compressed_messages_count_as_they_are_sent(chat: Chat, make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(route=BOTH)
    async with calling(proxy) as socket:
        await socket.send("x" * 100 * KB)
        assert await socket.recv() == str(100 * KB)


async def test_only_what_is_bounded_is_held_to_frames(make_proxy: MakeProxy, chat: Chat) -> None:
    proxy = await make_proxy(route={"max_message": MessageBounds(egress=KB)})
    async with calling(proxy, compression=None) as socket:
        await socket.send(bytes(KB * KB))
        assert await socket.recv() == str(KB * KB)


async def switched(
    proxy: Proxy, upstream: ScriptedUpstream, sends: bytes = b""
) -> tuple[Reader, Writer, asyncio.Future[bytes]]:
    """A tunnel to a server that says this and nothing more; all that it hears."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCHED + sends)
        heard.set_result(await reader.read(-1))

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(ASK)
    await read_head(reader)
    return reader, writer, heard


@pytest.mark.parametrize(
    ("case", "sent"),
    [
        ("a head that never ends", b"\x82\xff\0\0\0\0"),
        ("a frame without its mask", b"\x81\x02hi"),
        ("a length beyond all", b"\x82\xff" + bytes([255] * 8) + bytes(4)),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ],
)
async def test_what_is_no_frame_does_not_pass(
    case: str, sent: bytes, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(route=BOTH)
    reader, writer, heard = await switched(proxy, upstream)
    writer.write(MASKED)
    for at in range(len(sent)):
        writer.write(sent[at : at + 1])
        await asyncio.sleep(0)
    writer.write_eof()
    end = await asyncio.wait_for(reader.read(-1), 5)
    passed = await asyncio.wait_for(heard, 5)
    if case == "a head that never ends":
        assert (end, passed) == (b"", MASKED), "held back, and gone with its sender"
    else:
        assert end == b"\x88\x10\x03\xeaframes_invalid"
        assert passed == MASKED + b"\x88\x82\0\0\0\0\x03\xe9"


async def test_a_caller_to_whom_a_frame_is_half_sent_is_cut(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(route=BOTH)
    reader, writer, heard = await switched(proxy, upstream, b"\x82\x05ab")
    assert await reader.readexactly(4) == b"\x82\x05ab"
    writer.write(b"\x82\xfe\xff\xff" + bytes(4))
    with pytest.raises(ConnectionError):
        await reader.read(-1)
    assert await asyncio.wait_for(heard, 5) == b"\x88\x82\0\0\0\0\x03\xe9"
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED


async def test_an_upstream_that_has_ended_its_way_leaves_nothing_to_put_in(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCHED)
        writer.write_eof()
        await reader.read(-1)

    upstream.script = script
    proxy = await make_proxy(route=BOTH)
    reader, writer = await proxy.connect()
    writer.write(ASK)
    await read_head(reader)
    assert await reader.read(-1) == b""
    writer.write(b"\x82\xfe\xff\xff" + bytes(70_000))
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED


async def test_a_flood_behind_it_is_dropped(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    """Frames that came in the same breath as the request, before there was a tunnel."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(SWITCHED + b"\x81\x02hi")
        heard.set_result(await reader.read(-1))

    upstream.script = script
    proxy = await make_proxy(route=BOTH)
    reader, writer = await proxy.connect()
    writer.write(ASK + MASKED + b"\x82\xfe\xff\xff" + bytes(5_000_000))
    await read_head(reader)
    assert (await reader.read(-1)).endswith(b"\x88\x13\x03\xf1message_too_large")
    assert await asyncio.wait_for(heard, 5) == MASKED + b"\x88\x82\0\0\0\0\x03\xe9"
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED

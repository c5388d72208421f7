"""How a worker goes: what waits is taken, what was promised is kept, callers are told in time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.dataplane import server
from gateway.dataplane.listening import Listeners, mute
from gateway.dataplane.server import DataplaneServer
from gateway.dataplane.waits import Waits
from gateway.deadlines import Deadlines
from gateway.model.exchange import Exchange
from gateway.outbox import Outbox
from gateway.outcomes import Outcome
from gateway.telemetry.slots import Slots
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, close_all, read_head

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ASK = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n"


async def answer_at_once(exchange: Exchange) -> None:
    exchange.request_id = b"00000000-0000-8000-8000-000000000000"
    exchange.outcome = Outcome.SERVED
    exchange.downstream.answer(204, b"No Content", [], None)
    exchange.downstream.complete()


def make_server() -> DataplaneServer:
    outbox = Outbox(asyncio.get_running_loop())
    return DataplaneServer(answer_at_once, Waits(), Deadlines(), outbox, Slots.in_memory())


@pytest.fixture
async def listening() -> AsyncIterator[socket.socket]:
    made = socket.create_server(("127.0.0.1", 0))
    made.setblocking(False)
    yield made
    made.close()


async def callers(listening: socket.socket, count: int) -> list[tuple[Reader, Writer]]:
    """Connections with a call sent on each."""
    host, port = listening.getsockname()
    made = [await asyncio.open_connection(host, port) for _ in range(count)]
    for _, writer in made:
        writer.write(GET)
    return made


async def test_closing_takes_what_waits_in_the_queue(listening: socket.socket) -> None:
    waiting = await callers(listening, 50)
    server = make_server()
    listeners = Listeners([[listening]], server)
    await listeners.attend(0)
    await listeners.close()
    await server.drain(5)
    for reader, _ in waiting:
        answer = await read_head(reader)
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert await reader.read(-1) == b""
    await close_all([writer for _, writer in waiting])


async def test_what_is_left_in_a_queue_is_for_the_next_worker(listening: socket.socket) -> None:
    first, second = make_server(), make_server()
    going, coming = Listeners([[listening]], first), Listeners([[listening]], second)
    await going.attend(0)
    going.leave_all()
    waiting = await callers(listening, 50)
    await coming.attend(0)
    for reader, _ in waiting:
        assert (await read_head(reader)).startswith(b"HTTP/1.1 204 ")
    await close_all([writer for _, writer in waiting])
    coming.leave_all()
    await second.drain(5)


async def test_posts_are_attended_and_left_as_asked() -> None:
    posts = [[socket.create_server(("127.0.0.1", 0))] for _ in range(2)]
    server = make_server()
    listeners = Listeners(posts, server)
    await listeners.attend_only({0, 1})
    (reader, writer), *_ = await callers(posts[1][0], 1)
    assert (await read_head(reader)).startswith(b"HTTP/1.1 204 ")
    await listeners.attend_only({0})
    (late_reader, late), *_ = await callers(posts[1][0], 1)
    await listeners.attend_only({0, 1})
    assert (await read_head(late_reader)).startswith(b"HTTP/1.1 204 ")
    await close_all([writer, late])
    await listeners.close()
    await server.drain(5)


def test_a_muted_socket_begins_no_connection_and_finishes_those_that_have(listening: socket.socket) -> None:
    with socket.create_connection(listening.getsockname()) as early, socket.socket() as late:
        mute(listening)
        late.setblocking(False)
        assert late.connect_ex(listening.getsockname()), "it only begins"
        early.sendall(b"still here")
        accepted, _ = listening.accept()
        accepted.settimeout(5)
        assert accepted.recv(100) == b"still here"
        accepted.close()
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_a_kept_connection_gets_one_last_answer(proxy: Proxy) -> None:
    reader, writer = await proxy.connect()
    writer.write(GET)
    assert b"Connection: close" not in await read_head(reader)
    await reader.readexactly(1)
    draining = asyncio.create_task(proxy.drain())
    await asyncio.sleep(0)
    writer.write(GET)
    assert b"Connection: close" in await read_head(reader)
    assert await reader.read(-1) == b"/"
    await draining


async def test_who_was_not_told_may_call_again(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """The head of its answer was sent before the end was known."""
    go_on = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await go_on.wait()
        writer.write(b"lf")
        await upstream.answer_ok(reader, writer)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    assert b"Connection: close" not in await read_head(reader)
    draining = asyncio.create_task(proxy.drain())
    await asyncio.sleep(0)
    go_on.set()
    assert await reader.readexactly(4) == b"half"
    head = b""
    while b"Connection: close" not in head:
        writer.write(GET)
        head = await read_head(reader)
        assert await reader.readexactly(1) == b"/"
    assert await reader.read(-1) == b""
    await draining


async def test_how_long_silence_is_waited_out_may_change(proxy: Proxy) -> None:
    """A worker that is replaced has time, until the whole gateway stops."""
    reader, writer = await proxy.connect()
    writer.write(GET)
    await read_head(reader)
    looks = 0

    def grace_s() -> float:
        nonlocal looks
        looks += 1
        return 600 if looks < 4 else 0

    async with asyncio.timeout(10):
        await proxy.server.drain(600, grace_s)
    assert looks == 4
    assert await reader.read(-1) == b"/"


async def test_pipelined_calls_are_all_answered(proxy: Proxy) -> None:
    reader, writer = await proxy.connect()
    writer.write(b"".join(b"GET /slow-auth HTTP/1.1\r\nHost: x\r\n\r\n" for _ in range(5)))
    async with asyncio.timeout(5):
        while not proxy.slots.get("connections"):
            await asyncio.sleep(0)
    draining = asyncio.create_task(proxy.drain())
    await asyncio.sleep(0)
    proxy.gate.set()
    assert (await reader.read(-1)).count(b"HTTP/1.1 200 ") == 5
    await draining


@pytest.fixture
async def chat(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    """A WebSocket server in the upstream's place that echoes."""

    async def echo(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    await upstream.stop()
    async with serve(echo, "127.0.0.1", 0) as server:
        upstream.port = server.sockets[0].getsockname()[1]
        yield


@pytest.mark.usefixtures("chat")
async def test_a_websocket_is_told_before_the_time_is_over(
    make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on until then; and is no failure when it has been told."""
    proxy = await make_proxy()
    async with connect(f"ws://127.0.0.1:{proxy.port}/chat") as socket:
        draining = asyncio.create_task(proxy.server.drain(600))
        for _ in range(3):
            await socket.send("still here")
            assert await socket.recv() == "still here"
        assert not draining.done()
        monkeypatch.setattr(server, "FAREWELL_S", 600.0)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1001, "")
    async with asyncio.timeout(10):
        await draining
    (exchange,) = await proxy.ended(1)
    assert (exchange.outcome, exchange.status) == (Outcome.SERVED, 101)
    assert proxy.slots.get("upstream_connections") == 0


async def test_within_a_frame_or_in_another_protocol_nobody_is_told(
    make_proxy: MakeProxy, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no WebSocket has no such word, and a frame that is half sent leaves no room for one."""
    monkeypatch.setattr(server, "FAREWELL_S", 600.0)
    finish = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        head = await upstream.head(reader)
        protocol = b"websocket" if b"websocket" in head else b"echo/1"
        writer.write(SWITCH % protocol + b"\x82\x05ab")
        await finish.wait()
        writer.write(b"cde")
        await reader.read(-1)

    upstream.script = script
    proxy = await make_proxy()
    streams = [await proxy.connect() for _ in range(2)]
    for protocol, (reader, writer) in zip((b"websocket", b"echo/1"), streams, strict=True):
        writer.write(ASK % protocol)
        await read_head(reader)
        assert await reader.readexactly(4) == b"\x82\x05ab"
    looks = 0

    def grace_s() -> float:
        nonlocal looks
        looks += 1
        return 600

    idle, _ = await proxy.connect()
    async with asyncio.timeout(20):
        while proxy.slots.get("connections") < 3:
            await asyncio.sleep(0)
        draining = asyncio.create_task(proxy.server.drain(600, grace_s))
        while looks < 3:
            await asyncio.sleep(0)
        finish.set()
        (web, _), (other, other_writer) = streams
        assert await web.read(-1) == b"cde\x88\x02\x03\xe9", "once the frame is whole"
        assert await other.readexactly(3) == b"cde"
        seen = looks
        while looks < seen + 2:
            await asyncio.sleep(0)
        other_writer.close()
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
    assert not idle.at_eof()


async def test_what_takes_too_long_is_cut(proxy: Proxy) -> None:
    reader, writer = await proxy.connect()
    writer.write(b"GET /slow-auth HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        while not proxy.slots.get("connections"):
            await asyncio.sleep(0)
    await proxy.drain(0)
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    proxy.gate.set()

"""Large transfers beside each other: they take turns, and what nobody reads is not collected."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.dataplane.answering import UNSENT_BYTES
from gateway.outbox import RATION_BYTES
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream, read_head

READ_BYTES = 256 << 10
"""What a loop reads of a socket at once, at most."""

NOT_SENT_LOW_AT = 25  # TCP_NOTSENT_LOWAT
SIZE = 8 << 20
PEERS = 12
IN_A_TICK = RATION_BYTES + PEERS * READ_BYTES
"""Each may begin with one piece; without turns it would go on with its next thirty."""


async def most_in_a_tick(proxy: Proxy, way: str, total: int) -> int:
    """The most that all connections together moved between two looks, once all have moved something."""
    most = before = 0
    connections = [one for one in proxy.server._open if one.exchange is not None]
    exchanges = [one.exchange for one in connections if one.exchange is not None]
    while before < total:
        await asyncio.sleep(0)
        moved = [getattr(exchange, way) for exchange in exchanges]
        if all(moved):
            most = max(most, sum(moved) - before)
        before = sum(moved)
    return most


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % SIZE, b"Transfer-Encoding: chunked"])
async def test_answers_take_turns(framing: bytes, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    begin = asyncio.Event()
    is_chunked = b"chunked" in framing
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, bytes(SIZE)) if is_chunked else bytes(SIZE)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        await begin.wait()
        writer.write(body)
        await reader.read(1)

    async def call() -> int:
        reader, writer = await proxy.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await read_head(reader)
        calls.release()
        return len(await reader.read(-1))

    upstream.script, calls = script, asyncio.Semaphore(0)
    async with asyncio.timeout(30), asyncio.TaskGroup() as callers:
        tasks = [callers.create_task(call()) for _ in range(PEERS)]
        for _ in range(PEERS):
            await calls.acquire()
        begin.set()
        assert await most_in_a_tick(proxy, "egress_bytes", PEERS * SIZE) <= IN_A_TICK
    assert all(task.result() >= SIZE for task in tasks)


async def test_uploads_take_turns(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.head(reader)
        await reader.readexactly(SIZE)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def call(begin: asyncio.Event) -> bytes:
        reader, writer = await proxy.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await begin.wait()
        writer.write(bytes(SIZE))
        return await read_head(reader)

    upstream.script, begin = script, asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as callers:
        tasks = [callers.create_task(call(begin)) for _ in range(PEERS)]
        while len(upstream.heads) < PEERS:
            await asyncio.sleep(0)
        begin.set()
        assert await most_in_a_tick(proxy, "ingress_bytes", PEERS * SIZE) <= IN_A_TICK
    assert all(task.result().startswith(b"HTTP/1.1 200 ") for task in tasks)


@pytest.mark.parametrize(("size", "is_bounded"), [(1000, False), (SIZE, True)])
async def test_the_kernel_collects_less_of_a_large_answer(
    size: int, is_bounded: bool, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size)))
    reader, writer = await proxy.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await read_head(reader)
    await reader.readexactly(size)
    plug = proxy.connection.transport.get_extra_info("socket")
    assert (plug.getsockopt(socket.IPPROTO_TCP, NOT_SENT_LOW_AT) == UNSENT_BYTES) is is_bounded


async def test_a_reader_that_takes_nothing_costs_the_upstream_little_of_its_answer(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        while True:
            writer.write(bytes(READ_BYTES))
            await writer.drain()

    upstream.script = script
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plug, (proxy.host, proxy.port))
    _, writer = await asyncio.open_connection(sock=plug, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads, too
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        while not proxy.server._open or not proxy.connection._stalled:
            await asyncio.sleep(0)
    exchange = proxy.connection.exchange
    assert exchange is not None
    assert exchange.egress_bytes < UNSENT_BYTES + 4 * READ_BYTES
    writer.transport.abort()

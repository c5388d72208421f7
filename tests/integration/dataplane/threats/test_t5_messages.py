"""T5: heads, chunks and bodies without end are refused or passed on, never collected."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc

import pytest

from gateway.dataplane.head import MAX_HEADER_LINES, MAX_TARGET_BYTES
from gateway.dataplane.waits import Waits
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import (
    Honest,
    Reader,
    Writer,
    eventually,
    lines_of,
    read_body,
    statuses,
    targets,
)

CLOSE = b"Connection: close\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(lines: bytes = b"", target: bytes = b"/a") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b%b\r\n" % (target, CLOSE, lines)


@pytest.mark.parametrize("piece_bytes", [1_000_000, 5000, 97])
@pytest.mark.parametrize(
    ("case", "raw", "status"),
    [
        ("a head at the limit", get(b"A: %b\r\n" % (b"x" * 3800)), 200),
        ("a head beyond it", get(b"A: %b\r\n" % (b"x" * 4200)), 431),
        ("a head without end", get()[:-2] + b"A: b\r\n" * 70_000, 431),
        ("a name without end", get()[:-2] + b"A" * 400_000, 431),
        ("a value without end", get()[:-2] + b"A: " + b"b" * 400_000, 431),
        ("too many lines", get(b"A:b\r\n" * MAX_HEADER_LINES), 431),
        ("as many lines as may be", get(b"A:b\r\n" * (MAX_HEADER_LINES - 2)), 200),
    ],
)
async def test_a_head_is_bounded_by_itself(
    case: str, raw: bytes, status: int, piece_bytes: int, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    """Whatever came before it in the same segment."""
    proxy = await make_proxy(waits=Waits(max_head_bytes=4096))
    body = b"x" * 6000
    before = b"POST /deny HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    reader, writer = await proxy.connect()
    whole = before + raw
    for at in range(0, len(whole), piece_bytes):
        writer.write(whole[at : at + piece_bytes])
        await writer.drain()
        await asyncio.sleep(0)
    assert statuses(await reader.read(-1)) == [401, status]
    assert len(targets(upstream)) == (status == 200)
    writer.close()


async def test_a_head_like_the_one_before_is_bounded_too(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(waits=Waits(max_head_bytes=1024))
    reader, writer = await proxy.connect()
    call = b"GET /a HTTP/1.1\r\nHost: x\r\nTraceparent: %b\r\n\r\n"
    for number in range(3):
        writer.write(call % (b"%d" % number))
        assert statuses(await read_head(reader)) == [200]
        await reader.readexactly(len(b"/a"))
    writer.write(call % (b"x" * 1024))
    assert statuses(await reader.read(-1)) == [431]
    assert len(upstream.heads) == 3


@pytest.mark.parametrize(
    ("size", "status"), [(MAX_TARGET_BYTES, 200), (MAX_TARGET_BYTES + 1, 414), (60_000, 414)]
)
async def test_a_target_is_bounded(size: int, status: int, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    assert statuses(await proxy.exchange(get(target=b"/" + b"x" * (size - 1)))) == [status]


@pytest.mark.parametrize(
    ("case", "flood"),
    [
        ("a trailer field without end", b"0\r\nA: " + b"x" * 400_000),
        ("trailer fields without end", b"0\r\n" + b"A: b\r\n" * 70_000),
        ("dropped trailer fields without end", b"0\r\n" + b"TE: b\r\n" * 70_000),
        ("an extension without end", b"1;" + b"x" * 400_000),
        ("a quoted extension without end", b'1;a="' + b"x" * 400_000),
        ("zeros without end", b"0" * 400_000),
    ],
)
async def test_what_is_no_body_ends(
    case: str, flood: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_body(await upstream.head(reader), reader)

    upstream.script = script
    answer = await proxy.exchange(CHUNKED + b"3\r\nabc\r\n" + flood)
    assert statuses(answer)[0] in (400, 431)


async def test_tiny_chunks_are_passed_on_together(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    count = 300_000
    wire = bytearray()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        while not wire.endswith(b"\r\n0\r\n\r\n"):
            wire.extend(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(CHUNKED + b"1\r\nx\r\n" * count + b"0\r\n\r\n")
    await Honest(proxy).call()
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    assert wire.count(b"x") == count
    assert len(wire) < 2 * count  # six bytes each as they were sent
    writer.close()


async def test_a_body_without_end_flows_through(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    size = 300_000_000
    arrived = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal arrived
        await upstream.head(reader)
        while arrived < size:
            arrived += len(await reader.read(262_144))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    reader, writer = await proxy.connect()
    piece = bytes(1_000_000)
    tracemalloc.start()
    writer.write(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(size // len(piece)):
        writer.write(piece)
        await writer.drain()
    await read_head(reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    writer.close()


async def test_a_bomb_is_opaque(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    bodies: list[bytes] = []

    async def script(reader: Reader, writer: Writer) -> None:
        bodies.append(await read_body(await upstream.head(reader), reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb))
        writer.write(bomb)

    upstream.script = script
    answer = await proxy.exchange(
        b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb
    )
    assert bodies == [bomb]
    assert answer.partition(b"\r\n\r\n")[2] == bomb
    assert lines_of(answer.partition(b"\r\n\r\n")[0], b"content-encoding") == [b"gzip"]


async def test_a_body_behind_a_held_call_is_not_collected(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """While a call waits for admission its body stays outside, but for one piece."""
    _, writer = await proxy.connect()
    writer.write(b"POST /slow-auth HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n")
    sent, before = 0, -1
    while sent != before and sent < 200_000_000:
        before = sent
        for _ in range(2000):
            if writer.transport.get_write_buffer_size() == 0:
                writer.write(bytes(65536))
                sent += 65536
            await asyncio.sleep(0)
    assert sent < 50_000_000
    writer.transport.abort()
    proxy.gate.set()
    await proxy.ended(1)
    await eventually(lambda: proxy.slots.get("connections") <= 1)

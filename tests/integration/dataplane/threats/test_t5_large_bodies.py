"""T5: a body that is larger than what is taken is refused as early as that is known."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.model.usage import billable
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import (
    Reader,
    Writer,
    eventually,
    lines_of,
    read_all,
    read_body,
    statuses,
    targets,
)

MOST = 1000
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SIZED = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def proxy(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> Proxy:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            head = await upstream.head(reader)
            length = b"%d" % len(await read_body(head, reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(length), length))

    upstream.script = script
    return await make_proxy(max_body_bytes=MOST)


async def refused(proxy: Proxy) -> None:
    """What is true of every body that was refused."""
    call = (await proxy.ended(1))[0]
    assert call.outcome is Outcome.BAD_REQUEST
    assert call.status == 413
    assert not billable(call.outcome, call.status)


@pytest.mark.parametrize(
    ("case", "sent"),
    [
        ("a length", SIZED % MOST + bytes(MOST)),
        ("chunks", CHUNKED + b"3e8\r\n" + bytes(MOST) + b"\r\n0\r\n\r\n"),
    ],
)
async def test_just_as_large_as_it_may_be(case: str, sent: bytes, proxy: Proxy) -> None:
    answer = await proxy.exchange(sent + NEXT)
    assert statuses(answer) == [200, 200]
    assert b"\r\n\r\n1000HTTP" in answer


async def test_one_byte_more_is_refused_before_it_is_read(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    reader, writer = await proxy.connect()
    writer.write(SIZED % (MOST + 1))
    head = await read_head(reader)
    assert head.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    problem = json.loads(await reader.readexactly(int(lines_of(head, b"content-length")[0])))
    assert (problem["code"], problem["max_body_bytes"]) == ("body_too_large", MOST)
    writer.write(bytes(MOST + 1) + NEXT)
    assert statuses(await reader.read(-1)) == [200], "little enough to read and drop"
    assert targets(upstream) == [b"/next"]
    await refused(proxy)


@pytest.mark.parametrize(
    ("case", "sent"),
    [
        ("too much to read and drop", SIZED % 1_000_000 + NEXT),
        ("a length beyond all bounds", SIZED % (2**63 - 1) + NEXT),
        (
            "continued only if it is asked for",
            SIZED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") % 2000,
        ),
        ("chunks, not yet at their end", CHUNKED + b"3e9\r\n" + bytes(MOST + 1) + b"\r\n"),
    ],
)
async def test_what_can_not_be_dropped_closes_the_connection(
    case: str, sent: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(sent)
    assert statuses(answer) == [413]
    assert lines_of(answer, b"connection") == [b"close"]
    assert targets(upstream) == []
    await refused(proxy)


@pytest.mark.parametrize(
    ("case", "chunks"),
    [("one", b"3e9\r\n" + bytes(MOST + 1) + b"\r\n"), ("a thousand and one", b"1\r\nx\r\n" * 1001)],
)
async def test_chunks_that_came_whole_are_refused_and_the_connection_goes_on(
    case: str, chunks: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(CHUNKED + chunks + b"0\r\n\r\n" + NEXT)
    assert statuses(answer) == [413, 200]
    assert targets(upstream) == [b"/next"]
    await refused(proxy)


@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n"])
async def test_chunks_that_grow_too_large_cancel_the_call(
    end: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    ended: list[bytes] = []

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        try:
            ended.append(await reader.readuntil(b"0\r\n\r\n"))
        except (asyncio.IncompleteReadError, ConnectionError) as cut:
            ended.append(cut.partial if isinstance(cut, asyncio.IncompleteReadError) else b"")
            raise

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(CHUNKED + b"3e8\r\n" + bytes(MOST) + b"\r\n")
    await eventually(lambda: targets(upstream))
    writer.write(b"1\r\nx\r\n" + end)
    answer = await reader.read(-1)
    assert statuses(answer) == [413]
    assert lines_of(answer, b"connection") == [b"close"]
    await eventually(lambda: ended)
    assert b"x" not in ended[0], "not even the first byte too many"
    assert not ended[0].endswith(b"0\r\n\r\n")
    await refused(proxy)


async def test_after_the_answer_began_the_connection_is_cut_and_the_call_is_not_free(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await reader.read(-1)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(CHUNKED + b"1\r\nx\r\n")
    assert statuses(await read_head(reader)) == [200]
    writer.write(b"3e9\r\n" + bytes(MOST + 1) + b"\r\n")
    with pytest.raises(ConnectionResetError):
        await read_all(reader)
    call = (await proxy.ended(1))[0]
    assert call.outcome is Outcome.CLIENT_ABORTED
    assert billable(call.outcome, call.status)


async def test_a_route_has_its_own_limit(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    proxy = await make_proxy(max_body_bytes=MOST, route={"max_body_bytes": 4})
    assert statuses(await proxy.exchange(SIZED % 5 + b"12345" + NEXT)) == [413, 200]
    assert targets(upstream) == [b"/next"]


async def test_a_tunnel_is_no_body(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        writer.write(await reader.readexactly(5000))
        writer.close()

    upstream.script = script
    proxy = await make_proxy(max_body_bytes=MOST)
    reader, writer = await proxy.connect()
    writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    await read_head(reader)
    writer.write(bytes(5000))
    assert await reader.readexactly(5000) == bytes(5000)

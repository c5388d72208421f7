"""T2: the head and the trailer fields of an answer are bounded, whatever the segments."""

from __future__ import annotations

import pytest

from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Reader, Writer, read_all, statuses

GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("piece_bytes", [10_000_000, 10_000])
@pytest.mark.parametrize("lines", [b"A: %b\r\n" % (b"x" * 70_000), b"A: xxx\r\n" * 10_000])
async def test_a_huge_head_is_502(
    lines: bytes, piece_bytes: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n"

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        for at in range(0, len(raw), piece_bytes):
            writer.write(raw[at : at + piece_bytes])
            await writer.drain()
        await reader.read(1)

    upstream.script = script
    assert statuses(await proxy.exchange(GET)) == [502]


async def test_a_large_head_within_the_limit_passes(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: %b\r\n\r\n" % (b"x" * 60_000))
    assert b"A: " + b"x" * 60_000 in await proxy.exchange(GET)


@pytest.mark.parametrize("field", [b"A: b\r\n", b"A: " + b"x" * 1000])
async def test_trailer_fields_without_end_break_the_answer_off(
    field: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        while True:
            writer.write(field * 10)
            await writer.drain()

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    await read_head(reader)
    with pytest.raises(ConnectionError):
        await read_all(reader)
    assert await proxy.outcome() is Outcome.UPSTREAM_ABORTED
    writer.close()

"""T1: an upstream that ignores a body must not take it for the next request of the connection."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Reader, Writer, statuses

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
VICTIM = b"GET /victim HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
FRAMINGS = [
    ("sized", b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED)),
    ("chunked", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize(("case", "framed"), FRAMINGS, ids=[case for case, _ in FRAMINGS])
async def test_the_next_caller_gets_its_own_answer(
    case: str, framed: bytes, method: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    victim_asks = asyncio.Event()
    closes: list[bool] = []

    async def ignores_bodies(reader: Reader, writer: Writer) -> None:
        head = await upstream.head(reader)
        target = head.split(b" ")[1]
        body = b"" if method == b"HEAD" and target == b"/attack" else target
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), body))
        if target != b"/attack":
            return
        closes.append(b"Connection: close\r\n" in head)
        await victim_asks.wait()  # the answer to what it takes for the next request comes late
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    upstream.script = ignores_bodies
    reader, writer = await proxy.connect()
    writer.write(b"%b /attack HTTP/1.1\r\nHost: x\r\n%b" % (method, framed))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    await proxy.ended(1)
    victim_asks.set()
    answer = await proxy.exchange(VICTIM)
    assert statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\n/victim")
    assert closes == [True]  # an upstream that heeds it never reads the body as a request
    writer.close()


async def test_a_body_whose_answer_came_early_ends_the_connection(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def answers_at_once(reader: Reader, writer: Writer) -> None:
        while True:
            target = (await upstream.head(reader)).split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    upstream.script = answers_at_once
    reader, writer = await proxy.connect()
    writer.write(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(6) == b"/early"
    writer.write(SMUGGLED + VICTIM)
    answer = await reader.read(-1)
    assert statuses(answer) == [200]
    assert answer.endswith(b"/victim")
    assert [head.split(b" ")[1] for head in upstream.heads] == [b"/early", b"/victim"]
    writer.close()

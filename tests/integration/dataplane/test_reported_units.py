"""What answers say of units, byte by byte: callers get the same answer, without what is only meant for us."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from fractions import Fraction

import pytest

from gateway.model.billing import USUAL, Billing, Found, Reading, Rule, Value
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head

HEADER = Value(header=b"x-tokens", trailer=b"x-tokens")
BODY = Value(json=(("usage", "total"),), events=(("usage", "total"),), within=1 << 20)
BILLING = Billing({"tokens": Rule(USUAL, HEADER), "words": Rule(USUAL, BODY)})

GET = b"GET /a HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
GET_AND_STAY = b"GET /a HTTP/1.1\r\nHost: api.example\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"Hi"}}],"usage":null}\n\n',
    b'data: {"usage":{"total":21}}\n\n',
    b"data: [DONE]\n\n",
)


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    return await make_proxy(route={"billing": BILLING})


async def readings(proxy: Proxy) -> tuple[Reading, Reading]:
    report = (await proxy.ended(1))[-1].report
    assert report is not None
    return report.reading(HEADER), report.reading(BODY)


def read(value: int, *, is_final: bool = True) -> Reading:
    return Reading(Found.READ, Fraction(value), is_final)


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


async def test_a_header_is_read_and_taken_out(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nX-Other: 1\r\nx-TOKENS: 21\r\nContent-Length: 2\r\n\r\nhi")
    answer = await proxy.exchange(GET)
    assert b"x-tokens" not in answer.lower()
    assert b"X-Other: 1\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhi")
    assert (await readings(proxy))[0] == read(21)


async def test_so_it_is_when_it_comes_in_pieces_and_twice_on_one_connection(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    numbers = itertools.count(5)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.head(reader)
            answer = b"HTTP/1.1 200 OK\r\nX-Tokens: %d\r\nContent-Length: 2\r\n\r\nhi" % next(numbers)
            for at in range(len(answer)):
                writer.write(answer[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0)

    upstream.script = script
    reader, writer = await proxy.connect()
    for number in (5, 6):
        writer.write(GET_AND_STAY)
        head = await read_head(reader)
        assert b"x-tokens" not in head.lower()
        assert await reader.readexactly(2) == b"hi"
        (*_, exchange) = await proxy.ended(number - 4)
        assert exchange.report is not None
        assert exchange.report.reading(HEADER) == read(number)
    assert upstream.connections == 1


async def test_head_refusals_and_errors_are_stripped_too(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(b"HTTP/1.1 503 No\r\nX-Tokens: 3\r\nContent-Length: 2\r\n\r\nno", then_close=True)
    assert b"x-tokens" not in (await proxy.exchange(GET)).lower()
    upstream.answering(b"HTTP/1.1 200 OK\r\nX-Tokens: 4\r\nContent-Length: 2\r\n\r\n")
    assert b"x-tokens" not in (await proxy.exchange(GET.replace(b"GET", b"HEAD"))).lower()
    exchanges = await proxy.ended(2)
    reports = [exchange.report for exchange in exchanges]
    assert [report.reading(HEADER).value for report in reports if report] == [3, 4]


async def test_an_interim_answer_is_stripped(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nX-Tokens: 9\r\nLink: </a.css>\r\n\r\n"
    upstream.answering(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    answer = await proxy.exchange(GET)
    assert b"Link: </a.css>" in answer
    assert b"x-tokens" not in answer.lower()
    assert (await readings(proxy))[0].found is Found.MISSING


async def test_a_trailer_is_read(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    head = b"HTTP/1.1 200 OK\r\nTrailer: X-Tokens\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.answering(head + chunked(b"hi") + b"0\r\nX-Tokens: 12\r\nX-Other: 3\r\n\r\n")
    answer = await proxy.exchange(GET)
    assert answer.endswith(b"2\r\nhi\r\n0\r\n\r\n")
    assert (await readings(proxy))[0] == read(12)


async def test_json_passes_as_it_is(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    body = b'{"text": "\xc3\xa9",\n "usage": {"total": 7}}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    upstream.answering(head + body)
    assert (await proxy.exchange(GET)).endswith(b"\r\n\r\n" + body)
    assert (await readings(proxy))[1] == read(7)


async def test_compressed_json_passes_as_it_is(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    body = gzip.compress(b'{"usage":{"total":8}}')
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    upstream.answering(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (await proxy.exchange(GET)).endswith(b"\r\n\r\n" + body)
    assert (await readings(proxy))[1] == read(8)


async def test_events_arrive_as_they_are_sent(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    heard = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.head(reader)
        writer.write(STREAM + chunked(EVENTS[0]))
        await heard.wait()  # nothing is held back until the next one
        writer.write(chunked(*EVENTS[1:]) + b"0\r\n\r\n")
        await writer.drain()

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    async with asyncio.timeout(10):
        await reader.readuntil(EVENTS[0])
        heard.set()
        rest = await reader.read(-1)
    assert EVENTS[1] in rest
    assert EVENTS[2] in rest
    assert (await readings(proxy))[1] == read(21, is_final=False)


async def test_a_caller_that_leaves_has_what_came_until_then(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.head(reader)
        writer.write(STREAM + chunked(EVENTS[1]))
        await reader.read(1)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    async with asyncio.timeout(10):
        await reader.readuntil(EVENTS[1])
    writer.transport.abort()
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED
    assert (await readings(proxy))[1] == read(21, is_final=False)


async def test_a_tunnel_may_be_opened_with_a_header(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Tokens: 4\r\n\r\nhi",
        then_close=True,
    )
    ask = b"GET /a HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    answer = await proxy.exchange(ask)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\r\n\r\nhi")
    assert b"x-tokens" not in answer.lower()
    assert (await readings(proxy))[0] == read(4)


@pytest.mark.parametrize(
    "fields",
    [
        b"X-Tokens: -1\r\n",
        b"X-Tokens:\r\n",
        b"X-Tokens: 1e999999\r\n",
        b"X-Tokens: " + b"9" * 50_000 + b"\r\n",
        b"X-Tokens: 1\r\nX-Tokens: 2\r\n",
        b"X-Tokens: \xff\xfe\r\n" * 9,
    ],
)
async def test_garbage_changes_nothing_for_the_caller(
    proxy: Proxy, upstream: ScriptedUpstream, fields: bytes
) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nhi")
    answer = await proxy.exchange(GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhi")
    assert b"x-tokens" not in answer.lower()
    assert (await readings(proxy))[0].found in (Found.INVALID, Found.SEVERAL)
    assert await proxy.outcome() is Outcome.SERVED


async def test_other_routes_pass_such_headers_on(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    proxy = await make_proxy()
    upstream.answering(b"HTTP/1.1 200 OK\r\nX-Tokens: 21\r\nContent-Length: 2\r\n\r\nhi")
    assert b"X-Tokens: 21\r\n" in await proxy.exchange(GET)
    assert (await proxy.ended(1))[0].report is None

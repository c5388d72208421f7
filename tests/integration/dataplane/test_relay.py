"""What goes in comes out: requests and answers through real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeAlias

import pytest

from gateway.dataplane.waits import Waits
from gateway.model.policies import Timeouts
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head

GET = b"GET /a?b=%20c HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_request_arrives_as_it_was_sent(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    await proxy.exchange(GET.replace(b"Connection", b"X-Odd: \xe9\r\nX-Odd: 2\r\nConnection"))
    lines = upstream.heads[0].split(b"\r\n")
    assert lines[0] == b"GET /a?b=%20c HTTP/1.1"
    assert lines[1] == b"Host: 127.0.0.1:%d" % upstream.port
    assert lines[2:4] == [b"X-Odd: \xe9", b"X-Odd: 2"]
    assert b"X-Forwarded-For: 127.0.0.1" in lines
    assert b"X-Forwarded-Host: api.example" in lines
    assert sum(line.startswith(b"Tollway-Request-Id: ") for line in lines) == 1


async def test_an_answer_comes_back_as_it_was_sent(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(
        b"HTTP/1.1 299 Rather Odd\r\nSet-Cookie: a\r\nX-Odd: \xff\r\nSet-Cookie: b\r\n"
        b"Keep-Alive: timeout=1\r\nTollway-Account: lie\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
        b"Content-Length: 0002\r\n\r\nhi"
    )
    head, _, body = (await proxy.exchange(GET)).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[:5] == [
        b"HTTP/1.1 299 Rather Odd",
        b"Set-Cookie: a",
        b"X-Odd: \xff",
        b"Set-Cookie: b",
        b"Content-Length: 2",
    ]
    assert b"X-Hop" not in head
    assert b"Tollway-Account" not in head
    assert body == b"hi"


@pytest.mark.parametrize(
    ("case", "raw", "closes", "body"),
    [
        ("sized", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False, b"hello"),
        (
            "chunked, with a trailer that is dropped",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            False,
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
        ("until close", b"HTTP/1.1 200 OK\r\n\r\nhello", True, b"5\r\nhello\r\n0\r\n\r\n"),
        ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", False, b""),
        (
            "not modified, with a length",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            False,
            b"",
        ),
        ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", True, b"hi"),
    ],
)
async def test_framings_of_answers(
    case: str, raw: bytes, closes: bool, body: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(raw, then_close=closes)
    assert body_of(await proxy.exchange(GET)) == body
    assert await proxy.outcome() is Outcome.SERVED


async def test_head_gets_the_length_and_no_body_and_keeps_both_connections(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    request = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await proxy.exchange(
        request + request + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
    assert answer.count(b"Content-Length: 100\r\n") == 3
    assert answer.endswith(b"\r\n\r\n")
    assert upstream.connections == 1


async def test_an_answer_of_unknown_length_ends_a_connection_of_http_1_0(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    answer = await proxy.exchange(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert body_of(answer) == b"hi"
    assert b"Connection: close" in answer
    assert b"chunked" not in answer


@pytest.mark.parametrize(
    ("case", "framing", "sent"),
    [
        ("sized", b"Content-Length: 0011", b"hello world"),
        (
            "chunked",
            b"Transfer-Encoding: chunked",
            b"5;ext=1\r\nhello\r\n006\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
        ),
    ],
)
async def test_a_request_body_is_framed_anew(
    case: str, framing: bytes, sent: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    arrived = bytearray()

    async def script(reader: Reader, writer: Writer) -> None:
        head = await upstream.head(reader)
        if b"Content-Length: 11\r\n" in head:
            arrived.extend(await reader.readexactly(11))
        else:
            assert b"Transfer-Encoding: chunked\r\n" in head
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                arrived.extend(await reader.readexactly(size))
                await reader.readexactly(2)
            await reader.readexactly(2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    answer = await proxy.exchange(
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n\r\n%b" % (framing, sent)
    )
    assert status_of(answer) == 200
    assert bytes(arrived) == b"hello world"
    exchange = (await proxy.ended(1))[0]
    assert exchange.ingress_bytes == 11


async def test_events_arrive_one_by_one(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await go_on.wait()
        writer.write(b"0\r\n\r\n")

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    await read_head(reader)
    assert await reader.readuntil(b"data: 1\n\n\r\n") == b"9\r\ndata: 1\n\n\r\n"
    go_on.set()
    assert (await reader.read(-1)).endswith(b"data: 2\n\n\r\n0\r\n\r\n")
    writer.close()


async def test_an_upload_is_forwarded_while_it_arrives(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    first = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        await reader.readexactly(5)
        first.set()
        await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
    async with asyncio.timeout(5):
        await first.wait()
    writer.write(b"world")
    assert status_of(await read_head(reader)) == 200
    writer.close()


async def test_a_large_upload_and_download_pass_whole(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    size = 20_000_000

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        body = await reader.readexactly(size)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(body)
        await writer.drain()

    upstream.script = script
    body = bytes(range(250)) * (size // 250)
    reader, writer = await proxy.connect()
    writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    writer.write(body)
    await read_head(reader)
    assert await reader.readexactly(size) == body
    writer.close()


async def test_pipelined_requests_are_answered_in_order(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    paths = [b"/deny" if n % 3 == 0 else b"/%d" % n for n in range(50)]
    requests = b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths)
    answer = await proxy.exchange(requests + GET)
    statuses = [int(piece[:3]) for piece in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [401 if path == b"/deny" else 200 for path in paths] + [200]
    assert [head.split(b" ")[1] for head in upstream.heads[:-1]] == [p for p in paths if p != b"/deny"]
    assert len(await proxy.ended(51)) == 51


async def test_any_segmentation_gives_the_same_answers(proxy: Proxy) -> None:
    raw = b"POST /deny HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + GET
    whole = [line for line in (await proxy.exchange(raw)).split(b"\r\n") if line.startswith(b"HTTP/1.1")]
    reader, writer = await proxy.connect()
    for at in range(len(raw)):
        writer.write(raw[at : at + 1])
        await asyncio.sleep(0)
        await writer.drain()
    answer = await reader.read(-1)
    assert [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1")] == whole
    writer.close()


async def test_a_refused_small_body_keeps_the_connection_and_is_never_parsed(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await proxy.connect()
    writer.write(b"POST /deny HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(smuggled))
    head = await read_head(reader)
    assert status_of(head) == 401
    writer.write(smuggled + GET)
    rest = await reader.read(-1)
    assert rest.count(b"HTTP/1.1 200") == 1
    assert [h.split(b" ")[1] for h in upstream.heads] == [b"/a?b=%20c"]
    writer.close()


@pytest.mark.parametrize(
    ("case", "framing"),
    [
        ("large", b"Content-Length: 10000000"),
        ("chunked", b"Transfer-Encoding: chunked"),
        ("waiting for 100", b"Content-Length: 3\r\nExpect: 100-continue"),
    ],
)
async def test_a_refused_body_that_can_not_be_drained_closes_the_connection(
    case: str, framing: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(b"POST /deny HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % framing)
    assert status_of(answer) == 401
    assert b"Connection: close" in answer
    assert b"100 Continue" not in answer
    assert upstream.heads == []


async def test_100_continue_comes_from_the_upstream(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        assert b"Expect: 100-continue" in await upstream.head(reader)
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert await read_head(reader) == b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n"
    assert await read_head(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert status_of(await read_head(reader)) == 200
    writer.close()


async def test_connections_to_the_upstream_are_kept(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    for _ in range(5):
        assert status_of(await proxy.exchange(GET)) == 200
    assert upstream.connections == 1


@pytest.mark.parametrize(("method", "status", "heads"), [(b"GET", 200, 3), (b"POST", 502, 2)])
async def test_a_stale_connection_is_replaced_for_idempotent_calls_only(
    method: bytes, status: int, heads: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await upstream.head(reader)  # then closes without a word

    upstream.script = script
    assert status_of(await proxy.exchange(GET)) == 200
    answer = await proxy.exchange(method + b" / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == status
    assert len(upstream.heads) == heads


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
EVIL = [
    ("not HTTP", b"SSH-2.0-OpenSSH\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("a bad header", b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n"),
    ("101 unasked", UPGRADE),
    ("gzip framing", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("huge head", b"HTTP/1.1 200 OK\r\n" + b"A: %b\r\n" % (b"x" * 1000) * 70),
    ("closes at once", b""),
    ("closes within the head", b"HTTP/1.1 200 OK\r\nA"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "raw"), EVIL, ids=[case for case, _ in EVIL])
async def test_an_unusable_answer_is_502_and_harms_nobody_else(
    case: str, raw: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(raw, then_close=True)
    answer = await proxy.exchange(GET)
    assert status_of(answer) == 502
    assert b'"upstream_invalid"' in answer
    assert await proxy.outcome() is Outcome.UPSTREAM_ERROR
    upstream.script = upstream.answer_ok
    assert status_of(await proxy.exchange(GET)) == 200


@pytest.mark.parametrize(
    ("case", "beyond"),
    [
        ("another answer", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
        ("the head of one", b"HTTP/1.1 200 OK\r\n"),
        ("a few bytes of one", b"HTTP/1.1 20"),
        ("no HTTP", b"poison\r\n\r\n"),
        ("a line end", b"\r\n"),
    ],
)
async def test_bytes_beyond_an_answer_never_reach_the_next_caller(
    case: str, beyond: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" + beyond)
    assert body_of(await proxy.exchange(GET)) == b"hi"
    assert body_of(await proxy.exchange(GET)) == b"hi"
    assert await proxy.outcome() is Outcome.SERVED


@pytest.mark.parametrize(
    ("case", "raw"),
    [
        ("sized", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    ],
)
async def test_an_upstream_that_breaks_off_breaks_off_the_answer(
    case: str, raw: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(raw, then_close=True)
    reader, writer = await proxy.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    seen = b""
    with contextlib.suppress(ConnectionResetError):
        seen = await reader.read(-1)
    assert seen.count(b"HTTP/1.1") <= 1
    assert not seen.endswith(b"0\r\n\r\n")
    assert await proxy.outcome() is Outcome.UPSTREAM_ABORTED
    writer.close()


async def test_nobody_listening_is_502(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    await upstream.stop()
    answer = await proxy.exchange(GET)
    assert status_of(answer) == 502
    assert b'"upstream_unreachable"' in answer


async def test_an_upstream_that_never_answers_is_504(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"")
    proxy = await make_proxy(timeouts=Timeouts(response_s=0.2))
    answer = await proxy.exchange(GET)
    assert status_of(answer) == 504
    assert await proxy.outcome() is Outcome.TIMEOUT


async def test_a_full_pool_is_503(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(b"")
    proxy = await make_proxy(max_connections=1, max_waiting=0)
    _, busy = await proxy.connect()
    busy.write(GET)
    async with asyncio.timeout(5):
        while not upstream.heads:
            await asyncio.sleep(0)
    answer = await proxy.exchange(GET)
    assert status_of(answer) == 503
    assert b'"upstream_busy"' in answer
    busy.close()


async def test_a_caller_that_hangs_up_ends_the_upstream_call(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    closed = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        await reader.read(-1)
        closed.set()

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    await read_head(reader)
    writer.close()
    async with asyncio.timeout(5):
        await closed.wait()
    exchange = (await proxy.ended(1))[0]
    assert (exchange.outcome, exchange.status) == (Outcome.CLIENT_ABORTED, 200)


async def test_a_caller_that_hangs_up_before_it_is_forwarded_never_reaches_the_upstream(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    _, writer = await proxy.connect()
    writer.write(b"GET /slow-auth HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        while not proxy.slots.get("connections"):
            await asyncio.sleep(0)
        writer.close()
        while proxy.slots.get("connections"):
            await asyncio.sleep(0)
    proxy.gate.set()
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED
    assert upstream.heads == []


async def test_a_slow_reader_holds_the_upstream_back(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    sent = 0

    async def script(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    await read_head(reader)
    before = -1
    async with asyncio.timeout(20):
        while sent != before:  # until the buffers of kernel and gateway are full
            before = sent
            await asyncio.sleep(0.3)
    assert sent < 50_000_000
    writer.transport.abort()
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED


async def test_a_malformed_request_is_400_and_not_echoed(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nX-Canary : tw_live_canary\r\n\r\n" + GET)
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"canary" not in answer.lower()
    assert upstream.heads == []
    assert await proxy.outcome() is Outcome.BAD_REQUEST


async def test_a_broken_chunk_ends_the_upload_without_an_end(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    seen = bytearray()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        while data := await reader.read(1000):
            seen.extend(data)

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    async with asyncio.timeout(5):
        while b"abc" not in seen:
            await asyncio.sleep(0)
    writer.write(b"zz\r\n")
    assert status_of(await reader.read(-1)) == 400
    assert b"0\r\n\r\n" not in seen
    writer.close()


async def test_a_head_too_large_is_431(make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(waits=Waits(max_head_bytes=2000))
    answer = await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 3000)
    assert status_of(answer) == 431


@pytest.mark.parametrize(
    ("case", "sent", "status"),
    [
        ("nothing", b"", None),
        ("half a head", b"GET / HTTP/1.1\r\nHo", 408),
        ("half a body", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 408),
    ],
)
async def test_a_caller_that_stalls_is_let_go(
    case: str, sent: bytes, status: int | None, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"")
    proxy = await make_proxy(waits=Waits(head_s=0.2, body_s=0.2))
    answer = await proxy.exchange(sent)
    assert (status_of(answer) if answer else None) == status


async def test_a_body_that_stalls_behind_its_answer_is_let_go(make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(waits=Waits(body_s=0.2))
    answer = await proxy.exchange(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 200


async def test_an_idle_connection_is_closed(make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(waits=Waits(keepalive_s=0.2))
    answer = await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(answer) == 200


async def test_draining_finishes_what_is_in_flight(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    upstream.script = script
    idle_reader, idle = await proxy.connect()
    reader, writer = await proxy.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        while not upstream.heads:
            await asyncio.sleep(0)
    stopping = asyncio.create_task(proxy.drain())
    assert await idle_reader.read(-1) == b""
    go_on.set()
    answer = await reader.read(-1)
    assert status_of(answer) == 200
    assert b"Connection: close" in answer
    assert body_of(answer) == b"hi"
    await stopping
    idle.close()
    writer.close()


async def test_hints_for_a_caller_that_does_not_read_leave_the_connection_as_it_was(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    may_answer = asyncio.Event()
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.head(reader)
        await may_answer.wait()
        writer.write(ok)
        while True:
            await upstream.head(reader)
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok)

    upstream.script = script
    proxy = await make_proxy(max_connections=1)
    call = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await proxy.connect()
    writer.write(call)
    async with asyncio.timeout(10):
        while not upstream.heads:
            await asyncio.sleep(0)
        first = proxy.connection
        waiting_reader, waiting_writer = await proxy.connect()
        waiting_writer.write(call)
        while not proxy.slots.get("upstream_waiting"):
            await asyncio.sleep(0)
    (waiting,) = proxy.server._open - {first}
    waiting.pause_writing()  # as its transport does that is full of an answer before
    may_answer.set()
    await proxy.ended(2)
    writer.write(call)
    async with asyncio.timeout(10):
        assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
        assert (await read_head(reader)).startswith(b"HTTP/1.1 103 ")
    waiting.resume_writing()
    assert (await read_head(waiting_reader)).startswith(b"HTTP/1.1 103 ")

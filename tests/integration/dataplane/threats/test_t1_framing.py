"""T1: a message whose end two servers could see in two places is refused, and nothing of it is forwarded."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import (
    Reader,
    Writer,
    eventually,
    read_all,
    statuses,
    targets,
)

CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*lines: bytes, body: bytes = b"0\r\n\r\n", version: bytes = b"1.1") -> bytes:
    start = b"POST /x HTTP/%b" % version
    return b"\r\n".join((start, b"Host: x", *lines)) + b"\r\n\r\n" + body


HEADS = [
    ("length, then chunked", post(b"Content-Length: 6", CHUNKED), 400),
    ("chunked, then length", post(CHUNKED, b"Content-Length: 6"), 400),
    ("the same length twice", post(b"Content-Length: 5", b"Content-Length: 5"), 400),
    ("two lengths", post(b"Content-Length: 5", b"Content-Length: 6"), 400),
    ("a list of lengths", post(b"Content-Length: 5, 5"), 400),
    ("an empty length", post(b"Content-Length:"), 400),
    ("a length with a sign", post(b"Content-Length: +5"), 400),
    ("a length in hexadecimal", post(b"Content-Length: 0x5"), 400),
    ("a length with a low line", post(b"Content-Length: 1_0"), 400),
    ("a negative length", post(b"Content-Length: -5"), 400),
    ("a length beyond 64 bits", post(b"Content-Length: 184467440737095516160"), 400),
    ("a length with a space within", post(b"Content-Length: 1 0"), 400),
    ("a length and a comma", post(b"Content-Length: 5,"), 400),
    ("a length and a parameter", post(b"Content-Length: 5;x"), 400),
    ("a vertical tab before a length", post(b"Content-Length: \x0b5"), 400),
    ("digits of another script", post("Content-Length: \u0665".encode()), 400),
    ("a length, then chunked in capitals", post(b"Content-Length: 6", CHUNKED.upper()), 400),
    ("an empty length, then chunked", post(b"Content-Length:", CHUNKED), 400),
    ("a folded line", post(b"X-A: b", b" c"), 400),
    ("a folded coding", post(b"Transfer-Encoding:", b" chunked"), 400),
    ("a folded first line", b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    ("a bare line feed after the start", b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    ("a bare line feed after a header", b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
    ("a bare carriage return in a value", post(b"X-A: b\rX-B: c"), 400),
    ("an unknown coding", post(b"Transfer-Encoding: xchunked"), 501),
    ("identity", post(b"Transfer-Encoding: identity"), 501),
    ("chunked twice", post(CHUNKED, CHUNKED), 400),
    ("chunked twice in one", post(b"Transfer-Encoding: chunked, chunked"), 400),
    ("a comma before chunked", post(b"Transfer-Encoding: ,chunked"), (400, 501)),
    ("gzip under chunked", post(b"Transfer-Encoding: gzip, chunked"), 501),
    ("chunked under gzip", post(b"Transfer-Encoding: chunked, gzip"), 400),
    ("a vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked"), 400),
    ("a parameter of chunked", post(b"Transfer-Encoding: chunked;q=1"), (400, 501)),
    ("an empty coding", post(b"Transfer-Encoding:"), (400, 501)),
    ("an empty coding, then chunked", post(b"Transfer-Encoding:", CHUNKED), (400, 501)),
    ("a no-break space before chunked", post("Transfer-Encoding: \u00a0chunked".encode()), (400, 501)),
    ("NUL behind chunked", post(b"Transfer-Encoding: chunked\0"), 400),
    ("an X before chunked", post(b"Transfer-Encoding: x, chunked"), (400, 501)),
    ("a quoted coding", post(b'Transfer-Encoding: "chunked"'), 501),
    ("a space before the colon", post(b"Transfer-Encoding : chunked"), 400),
    ("a space before the colon of a length", post(b"Content-Length : 5"), 400),
    ("NUL in a value", post(b"X-A: b\x00c"), 400),
    ("NUL in a name", post(b"X\x00A: b"), 400),
    ("a control character in a name", post(b"X\x01A: b"), 400),
    ("a byte outside ASCII in a name", post(b"X\xc3\xa4: b"), 400),
    ("an empty name", post(b": b"), 400),
    ("a line without a colon", post(b"Host"), 400),
    ("two Hosts", post(b"Host: y"), 400),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("chunked in HTTP/1.0", post(CHUNKED, version=b"1.0"), 400),
    ("a tab in the start line", b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("no version", b"GET /\r\nHost: x\r\n\r\n", 505),
    ("a version of one digit", b"GET / HTTP/1\r\nHost: x\r\n\r\n", 400),
    ("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
]  # fmt: skip


@pytest.mark.parametrize(("case", "raw", "status"), HEADS, ids=[case for case, *_ in HEADS])
async def test_a_head_is_refused_and_nothing_forwarded(
    case: str, raw: bytes, status: int | tuple[int, ...], proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(raw + SMUGGLED)
    assert len(statuses(answer)) == 1
    assert statuses(answer)[0] in (status if isinstance(status, tuple) else (status,))
    assert b"Connection: close\r\n" in answer
    assert targets(upstream) == []
    assert await proxy.outcome() is Outcome.BAD_REQUEST


CHUNKS = [
    ("a bare line feed after the size", b"3\nabc\r\n0\r\n\r\n"),
    ("a bare line feed after the data", b"3\r\nabc\n0\r\n\r\n"),
    ("a bare line feed at the end", b"3\r\nabc\r\n0\n\n"),
    ("an empty extension before a line feed", b"3;\nabc\r\n0\r\n\r\n"),
    ("a line feed in an extension", b"3;a=b\nabc\r\n0\r\n\r\n"),
    ("a carriage return in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("NUL in an extension", b"3;a=\0\r\nabc\r\n0\r\n\r\n"),
    ("a size of hexadecimal that is none", b"3g\r\nabc\r\n0\r\n\r\n"),
    ("a space behind the size", b"3 \r\nabc\r\n0\r\n\r\n"),
    ("a size in digits of another script", "\u0663\r\nabc\r\n0\r\n\r\n".encode()),
    ("a bare carriage return after the data", b"3\r\nabc\r0\r\n\r\n"),
    ("a size that overflows", b"F" * 17 + b"\r\nabc\r\n0\r\n\r\n"),
    ("a size that wraps round", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("0x before the size", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("a low line in the size", b"0_3\r\nabc\r\n0\r\n\r\n"),
    ("a sign before the size", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("a negative size", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("a space before the size", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("no size", b"\r\nabc\r\n0\r\n\r\n"),
    ("data longer than its size", b"2\r\nabc\r\n0\r\n\r\n"),
    ("a length among the trailers", b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n"),
    ("a coding among the trailers", b"3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("a folded trailer", b"3\r\nabc\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
]


@pytest.mark.parametrize(("case", "body"), CHUNKS, ids=[case for case, _ in CHUNKS])
async def test_a_chunked_body_that_is_none_never_becomes_whole(
    case: str, body: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(post(CHUNKED, body=body) + SMUGGLED)
    assert statuses(answer) == [400]
    assert targets(upstream) == []
    assert await proxy.outcome() is Outcome.BAD_REQUEST


@pytest.mark.parametrize(("case", "body"), CHUNKS, ids=[case for case, _ in CHUNKS])
async def test_one_that_turns_out_to_be_none_on_the_way_is_cut_off(
    case: str, body: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """The upstream has the head by then, and sees the connection break within the body."""
    came, body_of = asyncio.Event(), bytearray()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        came.set()
        with suppress(ConnectionError):
            body_of.extend(await read_all(reader))
        body_of.extend(b" end")

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(post(CHUNKED, body=b"2\r\nok\r\n"))
    await came.wait()
    writer.write(body + SMUGGLED)
    answer = await reader.read(-1)
    assert statuses(answer) == [400]
    await eventually(lambda: body_of.endswith(b" end"))
    assert b"\r\n0\r\n" not in body_of
    assert targets(upstream) == [b"/x"]
    assert await proxy.outcome() is Outcome.BAD_REQUEST
    writer.close()


async def test_two_spaces_in_the_start_line_reach_the_upstream_as_one(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await proxy.exchange(b"GET  /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert upstream.heads[0].startswith(b"GET /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("case", "raw", "words"),
    [
        ("a method in small letters", b"get / HTTP/1.1\r\nHost: x\r\n\r\n", "Invalid method encountered"),
        ("bytes in the path", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", "Invalid char in url path"),
        ("a bare line feed", b"GET / HTTP/1.1\nHost: x\r\n\r\n", "Expected CRLF after version"),
        ("NUL in a value", post(b"X-A: secret\x00c"), "Invalid header value char"),
        ("a size that is none", post(CHUNKED, body=b"zz\r\n"), "Invalid character in chunk size"),
    ],
)
async def test_the_caller_is_told_what_is_wrong(case: str, raw: bytes, words: str, proxy: Proxy) -> None:
    answer = await proxy.exchange(raw)
    assert f"The request is not valid HTTP/1.1: {words}." in answer.decode(), case
    assert b"secret" not in answer

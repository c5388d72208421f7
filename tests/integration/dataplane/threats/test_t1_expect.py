"""T1: `100 Continue` comes after admission or not at all, and never disturbs the counting of answers."""

from __future__ import annotations

import pytest

from gateway.dataplane.waits import Waits
from gateway.model.policies import Timeouts
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import (
    Reader,
    Writer,
    lines_of,
    read_body,
    statuses,
    targets,
)

LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_a_refused_caller_never_sees_100(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(
        b"POST /deny HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc" + LAST
    )
    assert statuses(answer) == [401, 200]
    assert targets(upstream) == [b"/last"]


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"x=y", b"100-continue;q=1"])
async def test_another_expectation_is_417(value: bytes, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: %b\r\n\r\nabc" % value
    )
    assert statuses(answer) == [417]
    assert targets(upstream) == []


@pytest.mark.parametrize(
    ("case", "interim"),
    [
        ("none", b""),
        ("one nobody waits for", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("hints", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        ("many", b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + b"HTTP/1.1 102 Processing\r\n\r\n" * 20),
        ("one that names a coding", b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: gzip\r\n\r\n"),
        ("one that names a length", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n"),
    ],
)
async def test_interim_answers_never_count(
    case: str, interim: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            head = await upstream.head(reader)
            body = await read_body(head, reader)
            writer.write(interim + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) + 1, body + b"!"))

    upstream.script = script
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    answer = await proxy.exchange(post + b"a" + post + b"b" + LAST)
    assert [status for status in statuses(answer) if status >= 200] == [200] * 3
    assert 100 not in statuses(answer)
    assert answer.index(b"a!") < answer.index(b"b!") < answer.index(b"1\r\n!")


async def test_http_1_0_expects_nothing(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_body(await upstream.head(reader), reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    answer = await proxy.exchange(b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\na")
    assert statuses(answer) == [200]
    assert lines_of(upstream.heads[0], b"expect") == []


async def test_a_caller_that_waits_for_100_is_not_the_slow_one(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        await reader.read(-1)  # neither asks for the body nor answers

    upstream.script = script
    proxy = await make_proxy(waits=Waits(body_s=0.5), timeouts=Timeouts(response_s=2.0))
    answer = await proxy.exchange(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    assert statuses(answer) == [504]
    assert await proxy.outcome() is Outcome.TIMEOUT


async def test_a_caller_that_was_told_100_has_its_own_time(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.read(-1)

    upstream.script = script
    proxy = await make_proxy(waits=Waits(body_s=2.0), timeouts=Timeouts(response_s=0.5))
    answer = await proxy.exchange(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    assert statuses(answer) == [100, 408]
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED

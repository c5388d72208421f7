"""T2: whatever an upstream says, one caller hears 502 or a clean answer and the next one nothing of it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Honest, Reader, Writer, statuses

GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"

UNUSABLE = [
    ("a status below 100", b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nhi"),
    ("a status of 0", b"HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\nhi"),
    ("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
    ("the same length twice", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
    ("a length beside chunked", OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked under gzip", OK + b"Transfer-Encoding: chunked, gzip\r\n\r\nhi"),
    ("a negative length", OK + b"Content-Length: -2\r\n\r\nhi"),
    ("a folded line", OK + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi"),
    ("a bare carriage return in a value", OK + b"X-A: b\rSet-Cookie: c\r\nContent-Length: 2\r\n\r\nhi"),
    ("a bare line feed", OK + b"X-A: b\nSet-Cookie: c\r\nContent-Length: 2\r\n\r\nhi"),
    ("NUL in a value", OK + b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\nhi"),
    ("a carriage return in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nhi"),
    ("NUL in the reason", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nhi"),
    ("an escape in the reason", b"HTTP/1.1 200 O\x1b[2JK\r\nContent-Length: 2\r\n\r\nhi"),
    ("NUL in the reason of hints", b"HTTP/1.1 103 \x00\r\n\r\n" + HI),
    ("a space before the colon", OK + b"Content-Length : 2\r\n\r\nhi"),
    ("101 unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("101 unasked, with bytes behind",
     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + HI),
    ("RTSP", b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("RTSP in a version of HTTP", b"RTSP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("RTSP behind hints",
     b"HTTP/1.1 103 Early Hints\r\n\r\n\r\nRTSP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("hints of RTSP", b"RTSP/1.1 103 Early Hints\r\n\r\n" + HI),
    ("ICE", b"ICE/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("ICE in a version of HTTP", b"ICE/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("a stream as Shoutcast sends it", b"ICY 200 OK\r\nicy-name: x\r\n\r\nhi"),
    ("HTTP/0.9", b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("lower case", b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("only interim answers", b"HTTP/1.1 102 Processing\r\n\r\n" * 3000),
    ("nothing", b""),
    ("half a head", OK + b"Content-Le"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "raw"), UNUSABLE, ids=[case for case, _ in UNUSABLE])
async def test_an_unusable_answer_is_502(
    case: str, raw: bytes, proxy: Proxy, upstream: ScriptedUpstream, honest: Honest
) -> None:
    upstream.answering(raw, then_close=True)
    answer = await proxy.exchange(GET)
    assert [status for status in statuses(answer) if status >= 200] == [502]
    assert b"hi" not in answer.partition(b"\r\n\r\n")[2].partition(b"{")[0]
    assert b"Set-Cookie" not in answer
    assert await proxy.outcome() is Outcome.UPSTREAM_ERROR
    await honest.call()


@pytest.mark.parametrize("protocol", [b"RTSP/1.0", b"RTSP/1.1", b"ICE/1.0", b"ICE/1.1", b"HTTP/2.0"])
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3, b"\r\n"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_another_protocol_is_502_in_any_segments(
    protocol: bytes, interim: bytes, method: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    raw = interim + protocol + b" 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    cuts = iter(range(1, len(raw), 3))

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        cut = next(cuts)
        writer.write(raw[:cut])
        await asyncio.sleep(0)
        writer.write(raw[cut:])

    upstream.script = script
    for _ in range(1, len(raw), 3):
        assert statuses(await proxy.exchange(GET.replace(b"GET", method))) == [502]


@pytest.mark.parametrize(
    "interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n\r\n"]
)
async def test_an_old_answer_behind_an_interim_one_is_clean(
    interim: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(interim + b"HTTP/1.0 200 OK\r\nContent-Length: 20\r\n\r\nRTSP/1.0 200 OK\r\n\r\n\r")
    answer = await proxy.exchange(GET)
    assert statuses(answer)[-1] == 200
    assert answer.endswith(b"\r\n\r\nRTSP/1.0 200 OK\r\n\r\n\r")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (OK + b"X-A : secret\r\n\r\n", "no valid HTTP: Invalid header token"),
        (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "no valid HTTP: Duplicate Content-Length"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "a transfer coding other than chunked"),
        (OK + b"Content-Le", "the connection was closed within the answer"),
        (b"", "the connection was closed without an answer"),
    ],
)
async def test_the_log_says_what_was_wrong_and_where(
    raw: bytes, reason: str, proxy: Proxy, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answering(raw, then_close=True)
    await proxy.exchange(GET)
    (record,) = caplog.records
    assert record.__dict__["error"] == reason
    assert record.__dict__["target"] == f"http://127.0.0.1:{upstream.port}"


CLEAN = [
    ("bytes beyond", GET, OK + b"Content-Length: 2\r\n\r\nhiPOISON", b"hi"),
    ("an answer beyond", GET, HI + OK + b"Content-Length: 6\r\n\r\nPOISON", b"hi"),
    ("HEAD with a body", GET.replace(b"GET", b"HEAD"), OK + b"Content-Length: 6\r\n\r\nPOISON", b""),
    ("HEAD with a chunked body", GET.replace(b"GET", b"HEAD"),
     OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\nPOISON\r\n0\r\n\r\n", b""),
    ("204 with a body", GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nPOISON", b""),
    ("204 with a chunked body", GET,
     b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nPOISON\r\n0\r\n\r\n", b""),
    ("304 with a body", GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nPOISON", b""),
    ("205 with a length", GET, b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\nPOISON", b""),
    ("100 with a length", GET, b"HTTP/1.1 100 Continue\r\nContent-Length: 6\r\n\r\n"
     + OK + b"Content-Length: 2\r\n\r\nhi", b"hi"),
    ("HTTP/1.0 that stays", GET,
     b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    ("a status of 999", GET, b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    ("no reason", GET, b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    ("a reason outside ASCII", GET, b"HTTP/1.1 200 \xe9\xff\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "call", "raw", "body"), CLEAN, ids=[case for case, *_ in CLEAN])
async def test_an_answer_with_too_much_is_cut_clean(
    case: str, call: bytes, raw: bytes, body: bytes, proxy: Proxy, upstream: ScriptedUpstream, honest: Honest
) -> None:
    upstream.answering(raw)
    for _ in range(3):
        answer = await proxy.exchange(call)
        await honest.call()
        assert len(statuses(answer)) == 1
        assert answer.partition(b"\r\n\r\n")[2] == body
        assert b"POISON" not in answer


async def test_bytes_that_come_before_the_call_is_sent_are_no_answer_to_it(
    proxy: Proxy, upstream: ScriptedUpstream, honest: Honest
) -> None:
    """Said on an idle connection, in the very moment in which the next call is given to it."""
    writers: list[Writer] = []

    async def script(reader: Reader, writer: Writer) -> None:
        writers.append(writer)
        while True:
            target = (await upstream.head(reader)).split(b" ")[1]
            writer.write(OK + b"Content-Length: %d\r\n\r\n%b" % (len(target), target))

    upstream.script = script
    for n in range(200):
        reader, writer = await proxy.connect()
        writer.write(b"GET /n/%d HTTP/1.1\r\nHost: x\r\n\r\n" % n)
        await reader.readuntil(b"/n/%d" % n)
        late = b"GET /late/%d HTTP/1.1\r\nHost: x\r\n\r\n" % n
        writer.write(late)  # both are there when the gateway looks
        writers[-1].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 6\r\n\r\nPOISON")
        answer = await reader.readuntil(b"/late/%d" % n)
        assert b"POISON" not in answer
        writer.close()

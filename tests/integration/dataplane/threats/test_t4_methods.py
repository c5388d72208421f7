"""T4: which methods pass, and as what."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import pytest

from gateway.dataplane.head import METHODS
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import (
    Reader,
    Writer,
    eventually,
    lines_of,
    read_body,
    statuses,
    targets,
)

CALL = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"TRACE", b"/", 405),
        (b"CONNECT", b"x:80", 405),
        (b"CONNECT", b"127.0.0.1:22", 405),
        (b"get", b"/", 400),
        (b"Get", b"/", 400),
        (b"TRACK", b"/", 405),
        (b"yoink", b"/", 400),
        (b"YOInK", b"/", 400),
        (b"YOINK\t", b"/", 400),
        (b"YO(NK", b"/", 400),
        (b"GET_ALL", b"/", 400),
        (b"GET2", b"/", 400),
        (b"-YOINK", b"/", 400),
        (b"Y" * 33, b"/", 400),
        (b"Y" * 100_000, b"/", 400),
        (b"YOINK\x00", b"/", 400),
        (b"GET\x00", b"/", 400),
        (b"GET", b"*", 400),
        (b"YOINK", b"*", 400),
        (b"YOINK", b"x:80", 400),
        (b"YOINK", b"/%00", 400),
        (b"SOURCE", b"/", 400),
        (b"PRI", b"/", 400),
    ],
)
async def test_a_method_that_does_not_pass(
    method: bytes, target: bytes, status: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    assert statuses(await proxy.exchange(CALL % (method, target))) == [status]
    assert targets(upstream) == []


@pytest.mark.parametrize(
    "method", [b"DESCRIBE", b"PLAY", b"TEARDOWN", b"GET_PARAMETER", b"FLUSH", b"SOURCE", b"YOINK"]
)
@pytest.mark.parametrize(
    "version", [b"RTSP/1.0", b"RTSP/1.1", b"ICE/1.0", b"HTTP/2.0", b"HTTP/0.9", b"XTTP/1.1"]
)
async def test_a_request_of_another_protocol(
    method: bytes, version: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(b"%b / %b\r\nHost: x\r\nConnection: close\r\n\r\n" % (method, version))
    assert statuses(answer)[0] in (400, 505)
    assert targets(upstream) == []


FOREIGN = [
    b"GET /own RTSP/1.0", b"GET /own RTSP/1.1", b"POST /own RTSP/1.0", b"POST /own RTSP/1.1",
    b"OPTIONS /own RTSP/1.0", b"OPTIONS * RTSP/1.0", b"GET http://x/own RTSP/1.1", b"GET  /own  RTSP/1.1",
    b"\r\n\r\nGET /own RTSP/1.1", b"HEAD /own RTSP/1.0", b"GET /own ICE/1.0", b"SOURCE /own ICE/1.0",
]  # fmt: skip
BEFORE = [
    ("nothing", b"", 0),
    ("a call like it", b"GET /own HTTP/1.1\r\nHost: x\r\n\r\n" * 3, 3),
    ("a body", b"POST /before HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\nGET /own HTTP/1.1\n", 1),
    ("a body that ends within a line", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nBODY", 1),
    ("a chunked body",
     b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\nA: b\r\n\r\n", 1),
    ("an offer", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 1),
    ("an offer with a body",
     b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nG", 1),
]  # fmt: skip


@pytest.mark.parametrize(("case", "before", "calls"), BEFORE, ids=[case for case, *_ in BEFORE])
@pytest.mark.parametrize("line", FOREIGN)
async def test_a_usual_method_of_another_protocol_in_any_pieces(
    line: bytes, case: str, before: bytes, calls: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """The parser reads some of HTTP's methods in RTSP, too, and does not say in which it did."""
    upstream.script = partial(answer_bodies, upstream)
    raw = before + line + b"\r\nHost: x\r\nConnection: close\r\n\r\n"
    for size in (100_000, 17, 3, 1):
        reader, writer = await proxy.connect()
        for at in range(0, len(raw), size):
            writer.write(raw[at : at + size])
            await asyncio.sleep(0)
        answers = await reader.read()
        assert statuses(answers)[-1] == 400
        assert set(statuses(answers)[:-1]) <= {200}
        assert b'"code": "bad_request"' in answers
    # One that asks for the very same before it in one piece can not be told from it, but for the first.
    assert 4 * min(calls, 1) <= len(targets(upstream)) <= 4 * calls
    assert [one.outcome for one in proxy.exchanges].count(Outcome.BAD_REQUEST) == 4


async def answer_bodies(upstream: ScriptedUpstream, reader: Reader, writer: Writer) -> None:
    """Each request with its body."""
    while True:
        body = await read_body(await upstream.head(reader), reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize("size", [100_000, 17, 3, 1])
async def test_a_body_may_be_of_another_protocol(size: int, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.script = partial(answer_bodies, upstream)
    body = b"POST /own RTSP/1.0\r\n\r\nGET /own RTSP/1.0\r\nOPTIONS * RTSP/1.0\r\n\r\n"
    raw = b"POST /own HTTP/1.1\r\nHost: x\r\nReferer: GET /own RTSP/1.0\r\nContent-Length: %d\r\n\r\n%b"
    raw = raw % (len(body), body) + CALL % (b"GET", b"/next")
    reader, writer = await proxy.connect()
    for at in range(0, len(raw), size):
        writer.write(raw[at : at + size])
        await asyncio.sleep(0)
    answers = await reader.read()
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert body in answers


async def test_a_head_that_was_in_pieces_lends_nothing_to_what_comes_behind_its_body(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.script = partial(answer_bodies, upstream)
    reader, writer = await proxy.connect()
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    writer.write(b"POS")
    await eventually(lambda: any(one._head_bytes for one in proxy.server._open))
    writer.write(b"T /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    await eventually(lambda: targets(upstream) == [b"/1"])
    writer.write(b"BODYYOINK /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answers = await reader.read()
    assert statuses(answers) == [200, 400]
    assert [head.split(b" ")[0] for head in upstream.heads] == [b"POST"]


@pytest.mark.parametrize(
    ("case", "target"), [("asterisk form", b"*"), ("absolute form without a path", b"http://any.example")]
)
async def test_options_of_the_server_are_answered_by_the_gateway(
    case: str, target: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    reader, writer = await proxy.connect()
    writer.write(b"OPTIONS %b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd" % target)
    head = await read_head(reader)
    assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert lines_of(head, b"allow") == [b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]
    assert lines_of(head, b"content-length") == lines_of(head, b"transfer-encoding") == []
    writer.write(CALL % (b"GET", b"/next"))
    assert statuses(await reader.read(-1)) == [200], "the body was dropped, the connection goes on"
    assert targets(upstream) == [b"/next"]
    answered = proxy.exchanges[0]
    assert (answered.outcome, answered.route, answered.status) == (Outcome.ANSWERED, None, 204)


async def test_options_of_a_path_pass(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    for target in (b"/*", b"/", b"http://any.example/", b"http://any.example?a"):
        assert statuses(await proxy.exchange(CALL % (b"OPTIONS", target))) == [200]
    assert targets(upstream) == [b"/*", b"/", b"/", b"/?a"]


@pytest.mark.parametrize(
    "method",
    [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"PURGE"],
)
async def test_a_method_that_passes_as_it_is(method: bytes, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    assert statuses(await proxy.exchange(CALL % (method, b"/"))) == [200]
    assert upstream.heads[0].startswith(method + b" / HTTP/1.1\r\n")
    assert proxy.exchanges[0].head.method == method.decode()


REGISTERED = (
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL"
    b" MKREDIRECTREF MKWORKSPACE MOVE ORDERPATCH PROPFIND PROPPATCH QUERY REBIND REPORT SEARCH UNBIND"
    b" UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL"
).split()
"""With IANA, but for the usual ones."""
MADE_UP = b"YOINK GETS POSTS V X-Y DESCRIBE PLAY FLUSH".split()


@pytest.mark.parametrize("method", [*REGISTERED, *MADE_UP, b"Y" * 32])
async def test_any_method_passes_in_whatever_pieces(
    method: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            body = await read_body(await upstream.head(reader), reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    upstream.script = script
    calls = (
        b"%b /1 HTTP/1.1\r\nHost: x\r\n\r\n" % method,
        b"\r\n%b /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET " % method,
        b"%b /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nPUT\r\n0\r\nA: b\r\n\r\n"
        % method,
        b"GET /4 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"%b /5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % method,
    )
    for size in (100_000, 20, 3, 1):
        reader, writer = await proxy.connect()
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = []
        for call in calls:
            for at in range(0, len(call), size):
                writer.write(call[at : at + size])
                await asyncio.sleep(0)
            head = await read_head(reader)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            answers.append(await reader.readexactly(int(lines_of(head, b"content-length")[0])))
        assert answers == [b"", b"GET ", b"PUT", b"", b""]
        assert await reader.read() == b""
    seen = [head.split(b" HTTP")[0] for head in upstream.heads]
    assert seen == [b"%b /%d" % (b"GET" if at == 4 else method, at) for at in range(1, 6)] * 4
    assert {one.head.method for one in proxy.exchanges} == {"GET", method.decode()}


async def test_a_repeated_head_does_not_lend_its_method(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    reader, writer = await proxy.connect()
    for method in b"POST POST YOINK YOINK POST YOINK PUT YOINK".split():
        writer.write(b"%b /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, method))
        assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(len(method) + 1) == b"/" + method
        assert upstream.heads[-1].startswith(b"%b /%b " % (method, method))


async def test_a_made_up_method_behind_another_request_in_one_piece(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Where it begins, only the parser knew: what came before is answered, then the connection ends."""
    answers = await proxy.exchange(
        b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nYOINK /2 HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert statuses(answers) == [200, 400]
    assert b"can not follow another request in one piece" in answers
    assert targets(upstream) == [b"/1"]


async def test_a_made_up_method_while_another_call_is_under_way(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    reader, writer = await proxy.connect()
    writer.write(b"GET /slow-auth HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: any(one.exchange is not None for one in proxy.server._open))
    writer.write(CALL % (b"YOINK", b"/2"))
    proxy.gate.set()
    assert statuses(await reader.read()) == [200, 200]
    assert [head.split(b" ")[0] for head in upstream.heads] == [b"GET", b"YOINK"]


async def test_made_up_methods_leave_nothing_behind(proxy: Proxy) -> None:
    for number in range(20):
        assert statuses(await proxy.exchange(CALL % (b"YOINK" + b"K" * number, b"/"))) == [200]
    assert not [method for method in METHODS if method.startswith(b"YOINK")]

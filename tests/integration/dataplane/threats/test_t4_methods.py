"""T4: which methods pass, and as what."""

from __future__ import annotations

import pytest

from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Reader, Writer, lines_of, statuses, targets

CALL = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"TRACE", b"/", 405),
        (b"CONNECT", b"x:80", 405),
        (b"CONNECT", b"127.0.0.1:22", 405),
        (b"get", b"/", 400),
        (b"Get", b"/", 400),
        (b"GETS", b"/", 400),
        (b"YOINK", b"/", 400),
        (b"GET\x00", b"/", 400),
        (b"GET", b"*", 400),
        (b"DESCRIBE", b"/", 400),
        (b"PLAY", b"/", 400),
    ],
)
async def test_a_method_that_does_not_pass(
    method: bytes, target: bytes, status: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    assert statuses(await proxy.exchange(CALL % (method, target))) == [status]
    assert targets(upstream) == []


@pytest.mark.parametrize("method", [b"DESCRIBE", b"SETUP", b"PLAY", b"TEARDOWN", b"GET_PARAMETER", b"FLUSH"])
@pytest.mark.parametrize("version", [b"RTSP/1.0", b"RTSP/1.1"])
async def test_a_request_of_rtsp(
    method: bytes, version: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(b"%b / %b\r\nHost: x\r\nConnection: close\r\n\r\n" % (method, version))
    assert statuses(answer) == [400]
    assert targets(upstream) == []


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

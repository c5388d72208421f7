"""T4: what browsers are told about other origins, and what they ask beforehand."""

from __future__ import annotations

import re

import pytest

from gateway.model.cors import Cors
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import lines_of, statuses, targets

ORIGIN = b"https://app.example.com"
CORS = Cors(
    re.compile(re.escape(ORIGIN)),
    b"Access-Control-Expose-Headers: RateLimit\r\n",
    b"Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Max-Age: 600\r\n",
)
NOT_ALLOWED = [
    b"https://evil.example",
    b"https://app.example.com.evil.example",
    b"https://app.example.com:8443",
    b"HTTPS://APP.EXAMPLE.COM",
    b"null",
    b"*",
    b"",
]
PREFLIGHT = (
    b"OPTIONS %b HTTP/1.1\r\nHost: x\r\nOrigin: %b\r\nAccess-Control-Request-Method: PUT\r\n"
    b"Access-Control-Request-Headers: x-api-key\r\nConnection: close\r\n\r\n"
)
CALL = b"GET %b HTTP/1.1\r\nHost: x\r\nOrigin: %b\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    return await make_proxy(route={"cors": CORS})


def about_origins(answer: bytes) -> list[bytes]:
    """The names of the lines that speak of CORS."""
    head = answer.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
    return [name for name in names if name.lower().startswith(b"access-control-")]


@pytest.mark.parametrize("path", [b"/a", b"/deny"])
async def test_a_preflight_needs_no_key_and_reaches_nobody(
    path: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(PREFLIGHT % (path, ORIGIN))
    assert statuses(answer) == [204]
    assert lines_of(answer, b"access-control-allow-origin") == [ORIGIN]
    assert lines_of(answer, b"access-control-allow-methods") == [b"GET, PUT"]
    assert lines_of(answer, b"access-control-max-age") == [b"600"]
    assert lines_of(answer, b"access-control-expose-headers") == []
    asked = b"Access-Control-Request-Method, Access-Control-Request-Headers"
    assert lines_of(answer, b"vary") == [b"Origin", asked]
    assert lines_of(answer, b"tollway-request-id")
    assert targets(upstream) == []
    call = (await proxy.ended(1))[0]
    assert call.outcome is Outcome.ANSWERED
    assert call.route is not None, "for the books"
    assert (call.principal, call.grant, call.begun) == (None, None, False)


@pytest.mark.parametrize("origin", NOT_ALLOWED)
async def test_another_origin_is_told_nothing(
    origin: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(PREFLIGHT % (b"/a", origin))
    assert statuses(answer) == [204]
    assert about_origins(answer) == []
    assert lines_of(answer, b"vary")[0] == b"Origin"
    answer = await proxy.exchange(CALL % (b"/a", origin))
    assert statuses(answer) == [200]
    assert about_origins(answer) == []
    assert lines_of(answer, b"vary") == [b"Origin"]
    assert targets(upstream) == [b"/a"]


@pytest.mark.parametrize(
    ("case", "path", "status"), [("an answer", b"/a", 200), ("a refusal", b"/deny", 401)]
)
async def test_pages_can_read_what_comes(case: str, path: bytes, status: int, proxy: Proxy) -> None:
    answer = await proxy.exchange(CALL % (path, ORIGIN))
    assert statuses(answer) == [status]
    assert about_origins(answer) == [b"Access-Control-Allow-Origin", b"Access-Control-Expose-Headers"]
    assert lines_of(answer, b"access-control-allow-origin") == [ORIGIN]
    assert lines_of(answer, b"vary") == [b"Origin"]


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("whole in one piece", b"Content-Length: 2\r\n\r\nok"),
        ("read by the parser", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ],
)
async def test_what_the_upstream_allows_does_not_count(
    case: str, answer: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(
        b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n"
        b"access-control-allow-credentials: true\r\nX-A: Access-Control-A: b\r\n" + answer
    )
    told = await proxy.exchange(CALL % (b"/a", ORIGIN))
    assert lines_of(told, b"access-control-allow-origin") == [ORIGIN]
    assert lines_of(told, b"access-control-allow-credentials") == []
    assert lines_of(told, b"vary") == [b"Accept", b"Origin"]
    assert lines_of(told, b"x-a") == [b"Access-Control-A: b"]
    assert about_origins(await proxy.exchange(CALL % (b"/a", b"https://evil.example"))) == []


async def test_a_body_behind_a_preflight_is_no_request(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await proxy.connect()
    preflight = PREFLIGHT.replace(b"Connection: close", b"Content-Length: %d" % len(smuggled))
    writer.write(preflight % (b"/a", ORIGIN) + smuggled + CALL % (b"/b", ORIGIN))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 204 ")
    assert statuses(await reader.read(-1)) == [200]
    assert targets(upstream) == [b"/b"]


async def test_preflights_alike_over_one_connection(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    reader, writer = await proxy.connect()
    for number in range(20):
        writer.write(PREFLIGHT.replace(b"Connection: close\r\n", b"") % (b"/%d" % (number % 3), ORIGIN))
        assert lines_of(await read_head(reader), b"access-control-allow-origin") == [ORIGIN]
    assert targets(upstream) == []


async def test_without_cors_options_and_all_lines_pass(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n")
    answer = await (await make_proxy()).exchange(PREFLIGHT % (b"/a", ORIGIN))
    assert lines_of(answer, b"access-control-allow-origin") == [b"*"]
    assert lines_of(answer, b"vary") == []
    assert upstream.heads[0].startswith(b"OPTIONS /a HTTP/1.1\r\n")
    assert lines_of(upstream.heads[0], b"origin") == [ORIGIN]

"""T3: a caller can neither speak for the gateway nor take away what it says."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import lines_of, statuses, targets

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n%b\r\n%b\r\n\r\n"
CLOSE = b"Connection: close"


@pytest.mark.parametrize(
    "listed",
    [b"Tollway-Request-Id", b"X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto", b"Host",
     b"Content-Length", b"TE", b"te, trailers", b"Authorization", b"X-API-Key, Cookie-Not", b"Expect",
     b"Transfer-Encoding", b"Connection", b"Tollway-Account, Tollway-Tier, Tollway-Key-Id", b"close, host",
     b"keep-alive, Host", b"Keep-Alive, tollway-request-id", b"keep-alive\r\nConnection: TOLLWAY-REQUEST-ID",
     b"keep-alive\r\nKeep-Alive: timeout=999, max=1, Host, Tollway-Request-Id",
     b"keep-alive\r\nProxy-Connection: Host, Tollway-Request-Id",
     b",,,host,,", b"\thost\t,\tx-forwarded-for"],
)  # fmt: skip
async def test_connection_strips_nothing_of_ours(
    listed: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(GET % (b"Connection: " + listed, CLOSE))
    assert statuses(answer) == [200]
    head = upstream.heads[0]
    for name in (
        b"tollway-request-id",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"host",
    ):
        assert len(lines_of(head, name)) == 1
    for name in (b"connection", b"keep-alive", b"proxy-connection", b"te"):
        assert lines_of(head, name) == []


@pytest.mark.parametrize("named", [b"Authorization", b"AUTHORIZATION, x-api-key", b"X-API-Key"])
async def test_connection_strips_no_credentials_either(
    named: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Else whoever checks them behind us would see another call than we did."""
    lines = b"Connection: %b\r\nAuthorization: Basic eDp5\r\nX-API-Key: k" % named
    await proxy.exchange(GET % (lines, CLOSE))
    assert proxy.exchanges[0].head.authorization == b"Basic eDp5"
    assert proxy.exchanges[0].head.api_key == b"k"


async def test_connection_can_not_unframe_a_body(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(
        b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close, content-length, transfer-encoding\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    assert statuses(answer) == [200]
    assert lines_of(upstream.heads[0], b"content-length") == [b"0"]


async def test_what_connection_names_goes_no_further(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    await proxy.exchange(
        GET
        % (b"Connection: x-one\r\nConnection: X-Two,,close\r\nX-ONE: 1\r\nx-two: 2\r\nX-Three: 3", b"X-B: 1")
    )
    head = upstream.heads[0]
    found = [lines_of(head, name) for name in (b"x-one", b"x-two", b"x-three", b"x-b")]
    assert found == [[], [], [b"3"], [b"1"]]


SPOOFED = [
    (b"Tollway-Account", 200), (b"tollway-account", 200), (b"TOLLWAY-TIER", 200), (b"Tollway-Key-Id", 200),
    (b"Tollway-Anything", 200), (b"Tollway_Account", 400), (b"tollway_Tier", 400), (b"Tollway-Key_Id", 400),
    (b"X-Forwarded-For", 200), (b"X_Forwarded_For", 400), (b"Forwarded", 200), (b"X-Real-IP", 200),
    (b"X_Real_IP", 400), (b"X-Forwarded-Anything", 200), (b"X-Original-URL", 200), (b"X-Rewrite-URL", 200),
    (b"X_Original_Url", 400), (b"X-HTTP-Method-Override", 200), (b"X-HTTP-Method", 200),
    (b"X-Method-Override", 200), (b"X_HTTP_Method_Override", 400), (b"Content_Length", 400),
    (b"Transfer_Encoding", 400), (b"X_API_Key", 400), (b"Proxy-Authorization", 200),
    (b"Tollway-Account ", 400), (b"Tollway-Account\t", 400), (b"tOLLWAY-aCCOUNT", 200),
    (b"Tollway.Account", 400), (b"X-Forwarded-Host", 200), (b"X-Forwarded-Proto", 200),
    (b"X-Forwarded-Port", 200), (b"X_Forwarded-For", 400),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status"), SPOOFED)
@pytest.mark.parametrize("value", [b"evil", b"\xff\xfeevil", b"a, evil"])
async def test_a_field_that_is_ours_to_set(
    name: bytes, status: int, value: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(GET % (b"%b: %b\r\n%b: %b" % (name, value, name, value), CLOSE))
    assert statuses(answer) == [status]
    assert not any(b"evil" in head for head in upstream.heads)


async def test_where_a_call_came_from_is_told_once_and_truly(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await proxy.exchange(
        GET % (b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: e", CLOSE)
    )
    head = upstream.heads[0]
    assert lines_of(head, b"x-forwarded-for") == [b"127.0.0.1"]
    assert lines_of(head, b"x-forwarded-proto") == [b"http"]
    assert lines_of(head, b"x-forwarded-host") == [b"x"]


CREDENTIALS = [
    (b"Authorization: Bearer tw_live_canary", 200),
    (b"authorization: Basic dHdfbGl2ZV9jYW5hcnk6", 200),
    (b"X-API-Key: tw_live_canary", 200),
    (b"x-api-key: tw_live_canary", 200),
    (b"Authorization: tw_live_canary\r\nAuthorization: tw_live_canary", 400),
    (b"X-API-Key: tw_live_canary\r\nX-Api-Key: other", 400),
    (b"X-API-Key: tw_live_canary\xe9", 400),
    (b"X-API-Key : tw_live_canary", 400),
    (b"X_API_Key: tw_live_canary", 400),
]


@pytest.mark.parametrize(("line", "status"), CREDENTIALS)
async def test_a_key_goes_no_further_and_is_never_repeated(
    line: bytes, status: int, proxy: Proxy, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = await proxy.exchange(GET % (line, CLOSE))
    assert statuses(answer) == [status]
    for text in (answer, *upstream.heads, caplog.text.encode()):
        assert b"canary" not in text
        assert b"dHdfbGl2ZV9jYW5hcnk6" not in text


async def test_answers_do_not_speak_for_the_gateway(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(
        b"HTTP/1.1 200 OK\r\nTollway-Request-Id: evil\r\ntollway-account: evil\r\nRateLimit: evil\r\n"
        b'RATELIMIT-POLICY: "evil"\r\nX-RateLimit-Limit: 1\r\nServer: own/1\r\nContent-Length: 0\r\n\r\n'
    )
    answer = await proxy.exchange(GET % (CLOSE, b"X-B: 1"))
    assert b"evil" not in answer
    assert lines_of(answer, b"server") == [b"own/1"]  # its own words pass, and we add none of ours
    assert lines_of(answer, b"x-ratelimit-limit") == [b"1"]
    assert len(lines_of(answer, b"tollway-request-id")) == 1


OWN = [
    (b"GET /deny HTTP/1.1\r\nHost: x\r\n", 401),
    (b"GET /limited HTTP/1.1\r\nHost: x\r\n", 429),
    (b"GET /%2f HTTP/1.1\r\nHost: x\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : x\r\n", 400),
    (b"\x16\x03\x01", 400),
    (b"TRACE / HTTP/1.1\r\nHost: x\r\n", 405),
    (b"GET / HTTP/3.0\r\nHost: x\r\n", (400, 505)),
    (b"GET /garbage HTTP/1.1\r\nHost: x\r\n", 502),
    (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n", 204),
]


@pytest.mark.parametrize(("head", "status"), OWN, ids=[str(head[:20]) for head, _ in OWN])
async def test_our_own_answers_do_not_say_what_we_are_made_of(
    head: bytes, status: int | tuple[int, ...], proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"garbage\r\n\r\n")
    answer = await proxy.exchange(head + b"Connection: close\r\n\r\n")
    assert statuses(answer)[0] in (status if isinstance(status, tuple) else (status,))
    for name in (b"server", b"via", b"x-powered-by"):
        assert lines_of(answer, name) == []
    for word in (
        b"python",
        b"aiohttp",
        b"httptools",
        b"uvloop",
        b"llhttp",
        b"traceback",
        b"127.0.0.1",
        b"garbage",
    ):
        assert word not in answer.lower()


async def test_names_that_callers_make_up_change_nothing_for_others(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """What is remembered of header names is bounded and forgotten, never wrong."""
    for start in range(0, 5000, 100):
        lines = b"\r\n".join(b"X-Made-Up-%d: 1" % n for n in range(start, start + 100))
        assert statuses(await proxy.exchange(GET % (lines, CLOSE))) == [200]
    await proxy.exchange(GET % (b"Tollway-Account: evil\r\nX-Kept: 1\r\nX-API-Key: evil", CLOSE))
    assert b"evil" not in upstream.heads[-1]
    assert lines_of(upstream.heads[-1], b"x-kept") == [b"1"]
    assert targets(upstream) == [b"/a"] * 51

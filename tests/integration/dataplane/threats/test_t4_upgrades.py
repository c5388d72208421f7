"""T4: another protocol only after our checks, and only if the upstream agrees."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import lines_of, statuses, targets

ASK = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
HELD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LAST = b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_refused_before_it_is_switched(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(b"GET /deny HTTP/1.1\r\nHost: x\r\n" + ASK + b"\r\n" + SMUGGLED)
    assert statuses(answer) == [401]
    assert targets(upstream) == []


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
async def test_with_a_body(framing: bytes, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n" + ASK + framing + SMUGGLED)
    assert statuses(answer) == [400]
    assert targets(upstream) == []


@pytest.mark.parametrize("status", [200, 400, 426, 503])
async def test_an_upstream_that_does_not_switch(
    status: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status)
    answer = await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n" + ASK + b"\r\n" + SMUGGLED)
    assert statuses(answer) == [status]
    assert answer.endswith(b"\r\n\r\nno")
    assert targets(upstream) == [b"/"]  # what came behind was for the other protocol


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nraw",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nraw",
    ],
)
async def test_a_switch_to_nothing_is_502(answer: bytes, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(answer)
    assert statuses(await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n" + ASK + b"\r\n")) == [502]


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"


@pytest.mark.parametrize(
    "named",
    [b"h2c", b"websocket, h2c", b"h2c, websocket", b"websocket\r\nUpgrade: h2c", b"h2c\r\nUpgrade: websocket",
     b"HTTP/2.0", b"TLS/1.2", b"websocket2", b"websocket/13", b"x"],
)  # fmt: skip
async def test_a_switch_to_what_nobody_asked_for_is_502(
    named: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(SWITCHED + b"Upgrade: %b\r\n\r\nraw" % named)
    answer = await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n" + ASK + b"\r\n")
    assert statuses(answer) == [502]
    assert b"raw" not in answer


@pytest.mark.parametrize(
    ("offered", "asked"),
    [
        (b"h2c", []), (b"H2C", []), (b"h2c, h2", []), (b"HTTP/2.0", []), (b"TLS/1.0, HTTP/1.1", []),
        (b"tls", []),
        (b"h2c/1", []), (b",h2c,", []), (b"h2c\r\nUpgrade: H2c", []),
        (b"websocket, h2c", [b"websocket"]), (b"h2c,\twebsocket", [b"websocket"]),
        (b"TLS/1.0, a/1 , h2c, b", [b"a/1, b"]), (b"h2c\r\nUpgrade: websocket", [b"websocket"]),
        (b"websocket\r\nUpgrade: h2c", [b"websocket"]), (b"WebSocket", [b"WebSocket"]), (b"a, b", [b"a, b"]),
    ],
)  # fmt: skip
async def test_what_would_carry_calls_past_us_is_never_offered_on(
    offered: bytes, asked: list[bytes], proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """A tunnel of HTTP/2, or of TLS, takes any number of calls to any path, unseen."""
    upstream.answering(SWITCHED + b"Upgrade: h2c\r\n\r\nPRI" if not asked else HELD)
    lines = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AA\r\n\r\n" % offered
    answer = await proxy.exchange(b"GET /a HTTP/1.1\r\nHost: x\r\n" + lines + (b"" if asked else LAST))
    assert lines_of(upstream.heads[0], b"upgrade") == asked
    assert lines_of(upstream.heads[0], b"http2-settings") == []
    assert lines_of(upstream.heads[0], b"connection") == [b"upgrade"] * bool(asked)
    assert statuses(answer) == ([200] if asked else [502, 502])


async def test_h2c_is_not_offered_on(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AA\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert statuses(answer) == [200, 200]
    for head in upstream.heads:
        assert [lines_of(head, name) for name in (b"upgrade", b"connection", b"http2-settings")] == [
            [],
            [],
            [],
        ]

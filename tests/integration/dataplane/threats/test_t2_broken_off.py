"""T2: an answer that breaks off reaches the caller as broken off, never as whole."""

from __future__ import annotations

import pytest

from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Fault, Honest, MakeNetwork, statuses

HEAD = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n"
ANSWERS = {
    "sized": HEAD % b"Content-Length: 100" + b"x" * 100,
    "chunked": HEAD % b"Transfer-Encoding: chunked" + b"32\r\n%b\r\n" % (b"x" * 50) * 2 + b"0\r\n\r\n",
    "until close": HEAD % b"X-A: b" + b"x" * 100,
}


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("left_bytes", [1, 3, 5, 60])
@pytest.mark.parametrize(
    ("framing", "then"),
    [("sized", "half-close"), ("sized", "reset"), ("chunked", "close"), ("chunked", "reset"),
     ("until close", "reset")],
)  # fmt: skip
async def test_an_upstream_that_dies_within_its_body(
    framing: str,
    then: str,
    left_bytes: int,
    version: bytes,
    make_proxy: MakeProxy,
    make_network: MakeNetwork,
    upstream: ScriptedUpstream,
) -> None:
    raw = ANSWERS[framing]
    upstream.answering(raw)
    network = await make_network(upstream.port, back=Fault(after_bytes=len(raw) - left_bytes, then=then))
    upstream.port = network.port
    proxy = await make_proxy(is_watched=False)
    reader, writer = await proxy.connect()
    writer.write(b"GET / HTTP/%b\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" % version)
    seen = b""
    broke_off = False
    try:
        while data := await reader.read(1000):
            seen += data
    except ConnectionError:
        broke_off = True
    assert len(statuses(seen)) <= 1
    assert not seen.endswith(b"0\r\n\r\n")
    assert await proxy.outcome() is Outcome.UPSTREAM_ABORTED
    if version == b"1.0" and framing != "sized":
        assert broke_off  # the end of the connection would be the end of the body
    writer.close()


async def test_an_answer_that_ends_with_the_connection_is_whole(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy()
    upstream.answering(ANSWERS["until close"], then_close=True)
    answer = await proxy.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"64\r\n%b\r\n0\r\n\r\n" % (b"x" * 100))
    await Honest(proxy).call()
    assert await proxy.outcome() is Outcome.SERVED

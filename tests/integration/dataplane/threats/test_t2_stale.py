"""T2: a kept connection that the upstream closes costs nobody a call, and repeats none that counts."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Reader, Writer, reset, statuses, targets

CASES = [
    (b"GET", b"", 200, 2),
    (b"HEAD", b"", 200, 2),
    (b"PUT", b"", 200, 2),
    (b"DELETE", b"", 200, 2),
    (b"POST", b"", 502, 1),
    (b"PATCH", b"", 502, 1),
    (b"PUT", b"Content-Length: 3\r\n", 502, 1),
    (b"POST", b"Content-Length: 3\r\n", 502, 1),
]


@pytest.mark.parametrize("ending", ["fin", "rst"])
@pytest.mark.parametrize(("method", "framing", "status", "sent"), CASES)
async def test_a_kept_connection_that_ends_under_a_call(
    method: bytes,
    framing: bytes,
    status: int,
    sent: int,
    ending: str,
    proxy: Proxy,
    upstream: ScriptedUpstream,
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        answered = 0
        while True:
            target = (await upstream.head(reader)).split(b" ")[1]
            if target == b"/call" and answered:
                if ending == "rst":
                    reset(writer)
                return
            answered += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    close = b"Host: x\r\nConnection: close\r\n"
    assert statuses(await proxy.exchange(b"GET /first HTTP/1.1\r\n%b\r\n" % close)) == [200]
    body = b"abc" if framing else b""
    raw = b"%b /call HTTP/1.1\r\n%b%b\r\n%b" % (method, close, framing, body)
    assert statuses(await proxy.exchange(raw)) == [status]
    assert targets(upstream) == [b"/first"] + [b"/call"] * sent
    assert len(await proxy.ended(2)) == 2

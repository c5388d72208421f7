"""T4: which methods pass, and as what."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Reader, Writer, statuses, targets

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
        (b"OPTIONS", b"*", 400),
        (b"GET", b"*", 400),
    ],
)
async def test_a_method_that_does_not_pass(
    method: bytes, target: bytes, status: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    assert statuses(await proxy.exchange(CALL % (method, target))) == [status]
    assert targets(upstream) == []


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

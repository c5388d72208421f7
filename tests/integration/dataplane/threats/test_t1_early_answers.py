"""T1: the rest of a body behind an early answer is never executed."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import lines_of, statuses, targets

LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    return await make_proxy(closed="/closed")


@pytest.mark.parametrize(
    ("path", "status"),
    [(b"/deny", 401), (b"/closed/x", 403), (b"/limited", 429), (b"/answered-at-once", 200)],
)
async def test_ten_bytes_of_a_hundred_then_the_rest(
    path: bytes, status: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    body = b"x" * 10 + b"y" * (90 - len(SMUGGLED)) + SMUGGLED
    reader, writer = await proxy.connect()
    writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n%b" % (path, body[:10]))
    head = await read_head(reader)
    assert statuses(head) == [status]
    await reader.readexactly(int(lines_of(head, b"content-length")[0]))
    writer.write(body[10:] + LAST)
    assert statuses(await reader.read(-1)) == [200]
    assert b"/smuggled" not in targets(upstream)
    assert targets(upstream) == [path, b"/last"] if status == 200 else [b"/last"]
    writer.close()


@pytest.mark.parametrize(
    ("case", "framing"),
    [
        ("a body too large to read and drop", b"Content-Length: 1000000\r\n\r\n"),
        ("a chunked body", b"Transfer-Encoding: chunked\r\n\r\nffff\r\n"),
    ],
)
async def test_what_can_not_be_dropped_closes_the_connection(
    case: str, framing: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(b"POST /deny HTTP/1.1\r\nHost: x\r\n" + framing + SMUGGLED * 3)
    assert statuses(answer) == [401]
    assert b"Connection: close\r\n" in answer
    assert targets(upstream) == []

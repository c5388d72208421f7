"""T2: redirects and cookies are the caller's business."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import lines_of, statuses, targets

GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(b"HTTP/1.1 %d Moved\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n" % status)
    answer = await proxy.exchange(GET)
    assert statuses(answer) == [status]
    assert lines_of(answer.partition(b"\r\n\r\n")[0], b"location") == [b"/b"]
    assert targets(upstream) == [b"/a"]


async def test_cookies_go_to_whom_they_are_set_and_nobody_else(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n")
    answer = await proxy.exchange(GET)
    assert lines_of(answer.partition(b"\r\n\r\n")[0], b"set-cookie") == [b"a=1", b"b=2"]
    await proxy.exchange(GET)
    assert [lines_of(head, b"cookie") for head in upstream.heads] == [[], []]

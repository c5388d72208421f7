"""T1: trailer fields are never forwarded, whatever they name."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Reader, Writer, lines_of, read_body, statuses

LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "field", [b"Tollway-Account: acct_evil", b"Tollway_Account: x", b"X-A: b", b"Authorization: Bearer x",
              b"Host: evil", b"Expect: odd"]
)  # fmt: skip
async def test_fields_behind_a_body_are_dropped(
    field: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    behind: list[bytes] = []

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            head = await upstream.head(reader)
            behind.append(await read_body(head, reader))  # fails if there is anything but the body
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%b\r\n\r\n" % field)

    upstream.script = script
    name = field.partition(b":")[0]
    post = b"POST / HTTP/1.1\r\nHost: x\r\nTrailer: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % name
    answer = await proxy.exchange(post + b"3\r\nabc\r\n0\r\n" + field + b"\r\n\r\n" + LAST)
    assert statuses(answer) == [200, 200]
    assert behind == [b"abc", b""]
    assert [lines_of(head, b"trailer") for head in upstream.heads] == [[], []]
    assert [lines_of(head, b"tollway-account") for head in upstream.heads] == [[], []]
    assert field not in answer

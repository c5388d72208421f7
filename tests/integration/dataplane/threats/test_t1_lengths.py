"""T1: odd spellings of a length reach the upstream in their one canonical form."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Reader, Writer, lines_of, statuses


@pytest.mark.parametrize(
    ("case", "sent", "wire"),
    [
        ("leading zeros", b"Content-Length: 00003\r\n\r\nabc", b"abc"),
        ("seventeen digits of a chunk", b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 16
         + b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        ("upper case and an extension", b"Transfer-Encoding: Chunked\r\n\r\nA;x\r\n0123456789\r\n00\r\n\r\n",
         b"a\r\n0123456789\r\n0\r\n\r\n"),
        ("white space round the value", b"Content-Length: \t 3 \r\n\r\nabc", b"abc"),
    ],
)  # fmt: skip
async def test_the_upstream_sees_the_canonical_form(
    case: str, sent: bytes, wire: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    arrived = bytearray()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        arrived.extend(await reader.readexactly(len(wire)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    answer = await proxy.exchange(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + sent)
    assert statuses(answer) == [200]
    assert bytes(arrived) == wire
    head = upstream.heads[0]
    assert (lines_of(head, b"content-length"), lines_of(head, b"transfer-encoding")) in (
        ([b"3"], []),
        ([], [b"chunked"]),
    )

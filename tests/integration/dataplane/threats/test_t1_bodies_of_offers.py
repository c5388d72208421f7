"""T1: a body behind an offer of another protocol is a body, never the next request."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Reader, Writer, read_body, statuses, targets

CHUNK = b"%x\r\n%b\r\n0\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("piece_bytes", [100_000, 1, 7])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    ("case", "framing", "body"),
    [
        ("sized", b"Content-Length: %d\r\n\r\n" % len(SMUGGLED), SMUGGLED),
        ("chunked", b"Transfer-Encoding: chunked\r\n\r\n", CHUNK % (len(SMUGGLED), SMUGGLED)),
        ("none", b"\r\n", b""),
    ],
)  # fmt: skip
async def test_a_body_behind_an_offer_of_h2c(
    case: str,
    framing: bytes,
    body: bytes,
    version: bytes,
    piece_bytes: int,
    proxy: Proxy,
    upstream: ScriptedUpstream,
) -> None:
    bodies = []

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            bodies.append(await read_body(await upstream.head(reader), reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    keep = b"" if version == b"1.1" else b"Connection: keep-alive\r\n"
    first = b"POST /first HTTP/%b\r\nHost: x\r\n%b%b%b%b" % (version, keep, OFFER, framing, body)
    reader, writer = await proxy.connect()
    raw = first + LAST
    for at in range(0, len(raw), piece_bytes):
        writer.write(raw[at : at + piece_bytes])
        await writer.drain()
    answer = await reader.read(-1)
    writer.close()
    assert b"/smuggled" not in targets(upstream)
    if version == b"1.0" and case == "chunked":
        assert statuses(answer) == [400]
        return
    assert statuses(answer) == [200, 200]
    assert targets(upstream) == [b"/first", b"/last"]
    assert bodies == [SMUGGLED if body else b"", b""]

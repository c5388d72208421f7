"""T3: who calls is what trusted proxies say, never what the caller says."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dataplane.caller import Trust, TrustedHeader
from gateway.dataplane.waits import Waits
from gateway.model.networks import Networks, parse_network
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import lines_of, statuses

PROXIES = Networks(map(parse_network, ("127.0.0.1", "10.0.0.0/8")))
STRANGER: dict[str, Any] = {"local_addr": ("127.0.0.2", 0)}
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n"
CLOSE = b"\r\nConnection: close"


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    """The honest client's address is that of a trusted proxy."""
    return await make_proxy(trust=Trust(PROXIES, send_forwarded=True))


async def test_a_trusted_proxy_names_the_caller(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    lines = b"X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\nx-forwarded-FOR: 10.0.0.2\r\nX-Forwarded-Proto: https"
    await proxy.exchange(GET % (lines + b"\r\nX-Forwarded-Host: shop.example" + CLOSE))
    head = upstream.heads[0]
    assert lines_of(head, b"x-forwarded-for") == [b"192.0.2.7, 10.0.0.2, 127.0.0.1"]
    assert lines_of(head, b"x-forwarded-proto") == [b"https"]
    assert lines_of(head, b"x-forwarded-host") == [b"shop.example"]
    assert lines_of(head, b"forwarded") == [
        b"for=192.0.2.7;host=shop.example;proto=https, for=10.0.0.2, for=127.0.0.1"
    ]
    exchange = (await proxy.ended(1))[0]
    assert exchange.client_address == "192.0.2.7"
    assert exchange.head.host == "x", "routes match what was asked of us"


SAID = (
    b"X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: evil"
)


async def test_a_stranger_names_nobody(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    await proxy.exchange(GET % (SAID + CLOSE), **STRANGER)
    head = upstream.heads[0]
    assert lines_of(head, b"x-forwarded-for") == [b"127.0.0.2"]
    assert lines_of(head, b"x-forwarded-proto") == [b"http"]
    assert lines_of(head, b"x-forwarded-host") == [b"x"]
    assert lines_of(head, b"forwarded") == [b"for=127.0.0.2;host=x;proto=http"]
    assert (await proxy.ended(1))[0].client_address == "127.0.0.2"


async def test_without_trust_nobody_names_anybody(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    proxy = await make_proxy()
    await proxy.exchange(GET % (SAID + CLOSE))
    assert lines_of(upstream.heads[0], b"x-forwarded-for") == [b"127.0.0.1"]
    assert lines_of(upstream.heads[0], b"forwarded") == []
    assert b"evil" not in upstream.heads[0]


async def test_the_header_that_the_proxy_does_not_set_is_ignored(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(trust=Trust(PROXIES, TrustedHeader.FORWARDED))
    lines = b'Forwarded: for="\r\nForwarded: for=192.0.2.7;proto=https\r\nX-Forwarded-For: 1.1.1.1'
    await proxy.exchange(GET % (lines + b"\r\nX-Forwarded-Proto: http" + CLOSE))
    head = upstream.heads[0]
    assert lines_of(head, b"x-forwarded-for") == [b"192.0.2.7, 127.0.0.1"]
    assert lines_of(head, b"x-forwarded-proto") == [b"https"]


CALLS = [
    (b"X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
    (b"X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
    (b"X-Forwarded-For: 192.0.2.2", "192.0.2.2"),
    (b"X-Forwarded-For: 192.0.2.3", "192.0.2.3"),
    (b"X-Forwarded-For: 192.0.2.4", "192.0.2.4"),
    (b"X-Other: 192.0.2.4", "127.0.0.1"),
    (b"X-Other: 192.0.2.5", "127.0.0.1"),
    (b"X-Other: 192.0.2.6", "127.0.0.1"),
    (b"X-Forwarded-For: 192.0.2.6", "192.0.2.6"),
    (b"X-Forwarded-For: nonsense", "127.0.0.1"),
    (b"X-Forwarded-For: 192.0.2.6\r\nX-Other: 1", "192.0.2.6"),
    (b"X-Forwarded-For: 192.0.2.6\r\nX-Other: 2", "192.0.2.6"),
    (b"X-Forwarded-For: 192.0.2.6\r\nX-Other: 3", "192.0.2.6"),
    (b"X-Forwarded-For: 192.0.2.6\r\nX-Forwarded-For: 192.0.2.7", "192.0.2.7"),
]


@pytest.mark.parametrize("pipelined", [False, True])
async def test_calls_of_many_callers_over_one_connection(
    pipelined: bool, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Heads are recognised from the one before; who calls is never taken over."""
    reader, writer = await proxy.connect()
    for lines, _ in CALLS:
        writer.write(GET % lines)
        if not pipelined:
            await read_head(reader)
            await reader.readexactly(2)
    exchanges = await proxy.ended(len(CALLS))
    assert [exchange.client_address for exchange in exchanges] == [client for _, client in CALLS]
    firsts = [lines_of(head, b"x-forwarded-for")[0].split(b",")[0].decode() for head in upstream.heads]
    assert firsts == [client for _, client in CALLS]
    writer.close()


async def test_other_hosts_over_one_connection(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    reader, writer = await proxy.connect(**STRANGER)
    hosts = [b"x", b"x", b"y", b"y", b"x"]
    for host in hosts:
        writer.write((GET % b"X-A: 1").replace(b"Host: x", b"Host: " + host))
        await read_head(reader)
        await reader.readexactly(2)
    assert [lines_of(head, b"x-forwarded-host") for head in upstream.heads] == [[host] for host in hosts]
    writer.close()


@pytest.mark.parametrize(
    ("case", "lines", "status"),
    [
        ("named by Connection", b"Connection: X-Forwarded-For, close\r\nX-Forwarded-For: 192.0.2.7", 200),
        ("twice, in odd case", b"x-FORWARDED-for: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.7" + CLOSE, 200),
        ("a field beside it", b"X-Real-IP: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.7" + CLOSE, 200),
        ("another one", b"X-Forwarded-Port: 1\r\nX-Forwarded-For: 192.0.2.7" + CLOSE, 200),
        ("an underscore", b"X_Forwarded_For: 192.0.2.7", 400),
        ("without end", b"X-Forwarded-For: " + b"10.0.0.2, " * 10_000, 431),
    ],
)  # fmt: skip
async def test_what_a_trusted_proxy_may_pass(
    case: str, lines: bytes, status: int, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(trust=Trust(PROXIES), waits=Waits(max_head_bytes=8192))
    assert statuses(await proxy.exchange(GET % lines)) == [status]
    for head in upstream.heads:
        assert lines_of(head, b"x-forwarded-for") == [b"192.0.2.7, 127.0.0.1"]
        assert b"1.1.1.1" not in head
        assert lines_of(head, b"x-forwarded-port") == []
    assert len(upstream.heads) == (status == 200)


async def test_trailer_fields_name_nobody(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    _, writer = await proxy.connect()
    writer.write(
        b"POST /deny HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n" + GET % b"X-A: 1"
    )
    exchanges = await proxy.ended(2)
    assert [exchange.client_address for exchange in exchanges] == ["127.0.0.1"] * 2
    assert lines_of(upstream.heads[0], b"x-forwarded-for") == [b"127.0.0.1"]
    writer.close()

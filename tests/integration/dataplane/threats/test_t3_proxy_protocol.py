"""T3: a PROXY preamble names the caller where it is asked for, and is nothing anywhere else."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.dataplane.caller import ProxyProtocol, Trust
from gateway.dataplane.proxy_protocol import SIGNATURE
from gateway.dataplane.tls import Certificate
from gateway.dataplane.waits import Waits
from gateway.model.networks import Networks, parse_network
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import eventually, lines_of, read_all, reset, statuses

ON_EITHER_LOOP = True
CERTS = Path(__file__).parents[1] / "certs"
PROXIES = Networks(map(parse_network, ("127.0.0.1", "10.0.0.0/8")))
TRUSTED = Trust(PROXIES, proxy_protocol=ProxyProtocol.TRUSTED)
STRANGER: dict[str, Any] = {"local_addr": ("127.0.0.2", 0)}

V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0f\xc0\x00\x02\x07\x0a\x00\x00\x01\x04\xd2\x01\xbb\x04\x00\x00"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    return await make_proxy(trust=TRUSTED, preamble=V1)


@pytest.fixture
async def secure(make_proxy: MakeProxy) -> Proxy:
    """The same, with TLS behind the preamble."""
    context = Certificate(CERTS / "first.crt", CERTS / "first.key").context
    client = ssl.create_default_context(cafile=str(CERTS / "first.crt"))
    return await make_proxy(trust=TRUSTED, preamble=V2, tls=context, client_tls=client)


GOOD = [
    (V1, "192.0.2.7"),
    (V2, "192.0.2.7"),
    (LOCAL, "127.0.0.1"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "2001:db8::7"),
]


@pytest.mark.parametrize(("preamble", "client"), GOOD)
@pytest.mark.parametrize("piece_bytes", [10_000, 1, 13])
async def test_the_caller_is_whom_the_preamble_names(
    preamble: bytes, client: str, piece_bytes: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    reader, writer = await proxy.connect()
    raw = preamble + GET
    for at in range(0, len(raw), piece_bytes):
        writer.write(raw[at : at + piece_bytes])
        await asyncio.sleep(0)
    assert statuses(await read_all(reader)) == [200]
    assert lines_of(upstream.heads[0], b"x-forwarded-for") == [client.encode()]
    assert (await proxy.ended(1))[0].client_address == client
    writer.close()


@pytest.mark.parametrize(("preamble", "client"), [*GOOD, (V1[:-2] + b"\r\n", "192.0.2.7")])
async def test_it_comes_before_tls(
    preamble: bytes, client: str, secure: Proxy, upstream: ScriptedUpstream
) -> None:
    secure.preamble = preamble
    reader, writer = await secure.connect_as_asked()
    writer.write(GET)
    assert statuses(await read_all(reader)) == [200]
    assert lines_of(upstream.heads[0], b"x-forwarded-for") == [client.encode()]
    assert lines_of(upstream.heads[0], b"x-forwarded-proto") == [b"https"]
    writer.close()


async def test_preamble_and_first_flight_in_one_segment(secure: Proxy, upstream: ScriptedUpstream) -> None:
    """Written by hand: what TLS says first leaves together with the preamble."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    assert secure.client_tls is not None
    client = secure.client_tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await secure.connect()
    flight = V2
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(flight + outgoing.read())
            flight = b""
            incoming.write(await reader.read(65536))
        else:
            break
    client.write(GET)
    writer.write(outgoing.read())  # the end of the handshake and the first request, too
    answer = b""
    while not answer.endswith(b"/a"):
        incoming.write(await reader.read(65536))
        try:
            answer += client.read(65536)
        except ssl.SSLWantReadError:
            continue
    assert statuses(answer) == [200]
    assert lines_of(upstream.heads[0], b"x-forwarded-for") == [b"192.0.2.7"]
    writer.close()


async def test_headers_count_only_of_a_caller_that_is_trusted_itself(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    said = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
    await proxy.exchange(V1 + said)
    await proxy.exchange(V1.replace(b"192.0.2.7", b"10.1.1.1") + said)
    told = [lines_of(head, b"x-forwarded-for") for head in upstream.heads]
    assert told == [[b"192.0.2.7"], [b"203.0.113.9, 10.1.1.1"]]


async def test_a_strangers_preamble_is_no_http(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    assert statuses(await proxy.exchange(V1 + GET, **STRANGER)) == [400]
    assert statuses(await proxy.exchange(GET, **STRANGER)) == [200]
    assert lines_of(upstream.heads[0], b"x-forwarded-for") == [b"127.0.0.2"]


async def test_where_everybody_is_believed(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    proxy = await make_proxy(trust=Trust(proxy_protocol=ProxyProtocol.ALL), preamble=LOCAL)
    assert statuses(await proxy.exchange(V2 + GET, **STRANGER)) == [200]
    assert lines_of(upstream.heads[0], b"x-forwarded-for") == [b"192.0.2.7"]
    await is_closed(proxy, GET)


async def is_closed(proxy: Proxy, raw: bytes) -> None:
    """Without a byte of an answer, and counted."""
    before = proxy.slots.get("proxy_protocol_errors_total")
    reader, writer = await proxy.connect()
    writer.write(raw)
    answer = b""
    try:
        async with asyncio.timeout(20):
            answer = await reader.read(-1)
    except ConnectionError:
        pass
    assert answer == b""
    assert proxy.slots.get("proxy_protocol_errors_total") == before + 1
    writer.close()


BAD = [
    ("none", GET),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)),
    ("a bad address", V1.replace(b"192.0.2.7", b"canary") + GET),
    ("a bare line feed", V1.replace(b"\r\n", b"\n") + GET),
    ("without end", b"PROXY UNKNOWN " + b"x" * 1000),
    ("a command that is none", V2.replace(b"\x21\x11", b"\x2f\x11") + GET),
    ("too long", SIGNATURE + b"\x21\x11\xff\xff" + bytes(70_000)),
    ("two", V1[:20] + V1 + GET),
]


@pytest.mark.parametrize(("case", "raw"), BAD, ids=[case for case, _ in BAD])
async def test_what_is_no_preamble_ends_the_connection(
    case: str, raw: bytes, proxy: Proxy, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    await is_closed(proxy, raw)
    assert upstream.heads == []
    assert len(caplog.records) == 1
    assert "no valid PROXY preamble" in caplog.text
    assert "canary" not in caplog.text
    assert caplog.records[0].__dict__["peer"] == "127.0.0.1"
    await eventually(lambda: proxy.slots.get("connections") == 1)


async def test_strangers_do_not_fill_the_log(make_proxy: MakeProxy, caplog: pytest.LogCaptureFixture) -> None:
    proxy = await make_proxy(trust=Trust(proxy_protocol=ProxyProtocol.ALL), preamble=LOCAL)
    for _ in range(30):
        await is_closed(proxy, GET)
    assert len(caplog.records) == 10


async def test_a_second_preamble_is_no_http(proxy: Proxy) -> None:
    assert statuses(await proxy.exchange(V1 + V1 + GET)) == [400]


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 192", SIGNATURE, V2[:20]])
async def test_one_that_does_not_come_is_not_waited_for(sent: bytes, make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(trust=TRUSTED, preamble=V1, waits=Waits(head_s=0.5))
    await is_closed(proxy, sent)
    await eventually(lambda: proxy.slots.get("connections") <= 1)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_looking_whether_the_port_is_open_is_no_error(how: str, proxy: Proxy) -> None:
    for _ in range(5):
        _, writer = await proxy.connect()
        await eventually(lambda: proxy.slots.get("connections") == 2)
        if how == "reset":
            reset(writer)
        else:
            writer.close()
        await eventually(lambda: proxy.slots.get("connections") == 1)
    assert proxy.slots.get("proxy_protocol_errors_total") == 0


async def test_one_that_breaks_off_is_an_error(proxy: Proxy) -> None:
    _, writer = await proxy.connect()
    writer.write(V1[:20])
    writer.write_eof()
    await eventually(lambda: proxy.slots.get("proxy_protocol_errors_total") == 1)
    await eventually(lambda: proxy.slots.get("connections") == 1)
    writer.close()


async def test_connections_count_for_whom_they_are(make_proxy: MakeProxy) -> None:
    """The balancer's own address has no more than it may, and neither has any caller behind it."""
    proxy = await make_proxy(trust=TRUSTED, preamble=LOCAL, waits=Waits(max_connections_per_address=3))
    held = []
    for caller in (b"192.0.2.1", b"192.0.2.2"):
        for _ in range(3):
            reader, writer = await proxy.connect()
            writer.write(V1.replace(b"192.0.2.7", caller) + GET.replace(b"close", b"keep-alive"))
            assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
            held.append(writer)
    assert proxy.slots.get("connections") == 7
    assert await is_cut(proxy, V1.replace(b"192.0.2.7", b"192.0.2.1") + GET)
    assert proxy.slots.get("connections_refused_total") == 1
    held[0].close()
    await eventually(lambda: proxy.slots.get("connections") == 6)
    assert statuses(await proxy.exchange(V1.replace(b"192.0.2.7", b"192.0.2.1") + GET)) == [200]
    for writer in held:
        writer.close()


async def test_a_caller_is_no_other_for_each_of_its_addresses(make_proxy: MakeProxy) -> None:
    """A network of IPv6 has 2^64 of them: they count together, as for all other bounds."""
    proxy = await make_proxy(trust=TRUSTED, preamble=LOCAL, waits=Waits(max_connections_per_address=2))
    held = []

    async def call(source: bytes) -> bool:
        reader, writer = await proxy.connect()
        writer.write(b"PROXY TCP6 %b ::1 1 2\r\n" % source + GET.replace(b"close", b"keep-alive"))
        held.append(writer)
        try:
            return (await reader.read(100)).startswith(b"HTTP/1.1 200 ")
        except ConnectionError:
            return False

    sources = [b"2001:db8::1", b"2001:db8::2", b"2001:db8::ffff:0:0:3", b"2001:db8:0:1::1"]
    assert [await call(source) for source in sources] == [True, True, False, True]
    held[0].close()
    await eventually(lambda: proxy.slots.get("connections") == 3)
    assert await call(b"2001:db8::4")
    for writer in held:
        writer.close()
    await eventually(lambda: proxy.slots.get("connections") == 1)
    assert set(proxy.server._open_from) == {"127.0.0.1"}


async def is_cut(proxy: Proxy, raw: bytes) -> bool:
    reader, writer = await proxy.connect()
    try:
        writer.write(raw)
        return not await reader.read(1)
    except ConnectionError:
        return True
    finally:
        writer.close()


async def test_sockets_that_wait_for_their_preamble_count_for_their_peer(make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(trust=TRUSTED, preamble=V1, waits=Waits(max_connections_per_address=2))
    silent = [await proxy.connect() for _ in range(2)]
    await eventually(lambda: proxy.slots.get("connections") == 3)
    assert await is_cut(proxy, V1 + GET)
    for _, writer in silent:
        writer.close()
    await eventually(lambda: proxy.slots.get("connections") == 1)


async def test_a_gateway_that_stops_does_not_wait_for_preambles(make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(is_watched=False, trust=TRUSTED)
    _, writer = await proxy.connect()
    writer.write(V1[:10])
    await eventually(lambda: proxy.slots.get("connections") == 1)
    async with asyncio.timeout(4):
        await proxy.stop()
    assert proxy.slots.get("connections") == 0

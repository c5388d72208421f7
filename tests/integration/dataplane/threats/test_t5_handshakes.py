"""T5: a socket costs and counts from its first moment on, whatever it is to say before HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from gateway.dataplane import server
from gateway.dataplane.tls import Certificate
from gateway.dataplane.waits import Waits
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Honest, eventually, read_all, reset, statuses

ON_EITHER_LOOP = True
CERTS = Path(__file__).parents[1] / "certs"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture
def make_secure(make_proxy: MakeProxy) -> MakeProxy:
    async def make(**options: object) -> Proxy:
        context = Certificate(CERTS / "first.crt", CERTS / "first.key").context
        client = ssl.create_default_context(cafile=str(CERTS / "first.crt"))
        return await make_proxy(tls=context, client_tls=client, **options)

    return make


@pytest.mark.parametrize("waits", [Waits(max_connections=4), Waits(max_connections_per_address=4)])
async def test_handshakes_count_as_connections(waits: Waits, make_secure: MakeProxy) -> None:
    proxy = await make_secure(waits=waits)  # the honest client has one
    silent = [await proxy.connect() for _ in range(3)]
    await eventually(lambda: proxy.slots.get("connections") == 4)
    with pytest.raises(OSError):
        await proxy.connect_as_asked()
    assert proxy.slots.get("connections_refused_total") == 1
    silent[0][1].close()
    await eventually(lambda: proxy.slots.get("connections") == 3)
    reader, writer = await proxy.connect_as_asked()
    writer.write(GET)
    assert statuses(await read_all(reader)) == [200]
    writer.close()


@pytest.mark.parametrize("sent", [b"", HALF_A_HELLO])
async def test_sockets_that_never_shake_hands_are_closed(sent: bytes, make_secure: MakeProxy) -> None:
    proxy = await make_secure(waits=Waits(head_s=2.0))
    honest = Honest(proxy)
    sockets = [await proxy.connect() for _ in range(200)]
    for _, writer in sockets:
        writer.write(sent)
    await eventually(lambda: proxy.slots.get("connections") >= 200)
    await honest.call()
    for reader, _ in sockets:
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(-1), 30) == b""
    await eventually(lambda: proxy.slots.get("connections") <= 2)
    assert proxy.slots.get("tls_handshake_errors_total") == 200
    assert proxy.slots.get("connections_total") == 202


@pytest.mark.parametrize("how", ["plain HTTP", "garbage", "closed", "reset", "half closed"])
async def test_handshakes_that_fail_leave_nothing(
    how: str, make_secure: MakeProxy, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = await make_secure()
    _, writer = await proxy.connect()
    writer.write({"plain HTTP": GET, "garbage": b"\0" * 100}.get(how, HALF_A_HELLO))
    await eventually(lambda: proxy.slots.get("connections") >= 2)
    if how == "closed":
        writer.close()
    elif how == "reset":
        reset(writer)
    elif how == "half closed":
        writer.write_eof()
    await eventually(lambda: proxy.slots.get("connections") == 1)
    assert proxy.slots.get("tls_handshake_errors_total") == 1
    assert upstream.heads == []
    assert [record for record in caplog.records if record.name.startswith("tollway")] == []
    writer.close()


async def test_a_request_that_comes_with_the_end_of_the_handshake(
    make_secure: MakeProxy, upstream: ScriptedUpstream
) -> None:
    """Twenty times: whoever is told first, nothing of it is lost."""
    proxy = await make_secure()
    for _ in range(20):
        reader, writer = await proxy.connect_as_asked()
        writer.write(GET)
        assert statuses(await read_all(reader)) == [200]
        writer.close()
    assert len(upstream.heads) == 20
    await eventually(lambda: proxy.slots.get("connections") == 1)


async def test_who_leaves_with_the_end_of_the_handshake_is_gone(make_secure: MakeProxy) -> None:
    proxy = await make_secure()
    for abrupt in (False, True) * 10:
        _, writer = await proxy.connect_as_asked()
        writer.write(GET[:20])
        if abrupt:
            reset(writer)
        else:
            writer.close()
    await eventually(lambda: proxy.slots.get("connections") == 1)


async def test_a_gateway_that_stops_does_not_wait_for_handshakes(make_secure: MakeProxy) -> None:
    proxy = await make_secure(is_watched=False)
    writers = [(await proxy.connect())[1] for _ in range(5)]
    writers[0].write(HALF_A_HELLO)
    reader, writer = await proxy.connect_as_asked()
    writer.write(GET.replace(b"close", b"keep-alive"))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
    await eventually(lambda: proxy.slots.get("connections") == 6)
    async with asyncio.timeout(4):
        await proxy.stop()
    assert proxy.slots.get("connections") == 0


@pytest.mark.parametrize("sent", [b"", HALF_A_HELLO])
async def test_silent_handshakes_hold_up_no_drain(sent: bytes, make_secure: MakeProxy) -> None:
    """Others get as long for their handshake as for a call, and then for the call."""
    proxy = await make_secure(waits=Waits(head_s=600))
    silent, silent_writer = await proxy.connect()
    silent_writer.write(sent)
    slow, slow_writer = await proxy.connect()
    await eventually(lambda: proxy.slots.get("connections") >= 2)
    looks = 0

    def grace_s() -> float:
        nonlocal looks
        looks += 1
        return 600 if patient else 0

    patient = True
    draining = asyncio.create_task(proxy.server.drain(600, grace_s))
    await eventually(lambda: looks > 2)
    assert proxy.client_tls is not None
    await slow_writer.start_tls(proxy.client_tls, server_hostname="localhost")
    seen = looks
    await eventually(lambda: looks > seen + 2)
    slow_writer.write(GET)
    assert statuses(await read_all(slow)) == [200]
    assert not draining.done()
    patient = False
    async with asyncio.timeout(10):
        await draining
    with contextlib.suppress(ConnectionError):
        assert await read_all(silent) == b""


async def test_a_drain_waits_for_each_step_of_a_handshake(
    make_secure: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far away, a handshake takes longer than a caller may be silent, and something comes all the time."""
    quiet = 0.0
    monkeypatch.setattr(server, "quiet_s", lambda _transport: quiet)
    proxy = await make_secure(waits=Waits(head_s=600))
    far, far_writer = await proxy.connect()
    await eventually(lambda: proxy.slots.get("connections") >= 2)
    looks = 0

    def grace_s() -> float:
        nonlocal looks
        looks += 1
        return 0.001

    draining = asyncio.create_task(proxy.server.drain(600, grace_s))
    await eventually(lambda: looks > 6)
    assert proxy.client_tls is not None
    await far_writer.start_tls(proxy.client_tls, server_hostname="localhost")
    far_writer.write(GET)
    assert statuses(await read_all(far)) == [200]
    _, silent_writer = await proxy.connect()
    await eventually(lambda: proxy.slots.get("connections_total") >= 3)
    quiet = 600.0
    async with asyncio.timeout(10):
        await draining
    silent_writer.close()

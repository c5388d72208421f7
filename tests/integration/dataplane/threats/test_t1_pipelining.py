"""T1: pipelined requests are answered in order, each once, and only so many are held."""

from __future__ import annotations

import asyncio

import pytest

from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import Honest, eventually, statuses, targets

LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def get(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path


@pytest.mark.parametrize("pieces", [1, 3, 50])
async def test_requests_before_a_broken_one_are_answered(
    pieces: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    raw = get(b"/a") + get(b"/deny") + get(b"/b") + b"GET / HTTP/1.1\r\nHost : x\r\n\r\n" + get(b"/smuggled")
    reader, writer = await proxy.connect()
    size = len(raw) // pieces + 1
    for at in range(0, len(raw), size):
        writer.write(raw[at : at + size])
        await writer.drain()
    assert statuses(await reader.read(-1)) == [200, 401, 200, 400]
    assert targets(upstream) == [b"/a", b"/b"]
    assert len(await proxy.ended(4)) == 4
    writer.close()


async def test_fifty_at_once_are_answered_in_order_and_booked_once_each(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(closed="/closed")
    kinds = [(b"/deny", 401), (b"/closed/x", 403), (b"/limited", 429)]
    calls = [kinds[n // 2 % 3] if n % 2 else (b"/%d" % n, 200) for n in range(50)]
    answer = await proxy.exchange(b"".join(get(path) for path, _ in calls) + LAST)
    assert statuses(answer) == [status for _, status in calls] + [200]
    assert targets(upstream) == [path for path, status in calls if status == 200] + [b"/last"]
    assert [exchange.head.target for exchange in proxy.exchanges] == [path for path, _ in calls] + [b"/last"]


async def test_thousands_at_once_are_answered_in_order_and_others_have_their_turn(
    proxy: Proxy, honest: Honest
) -> None:
    paths = [b"/deny" if n % 2 else b"/%d" % n for n in range(5000)]
    reader, writer = await proxy.connect()
    writer.write(b"".join(get(path) for path in paths) + LAST)
    await honest.call()
    answered_before = len(proxy.exchanges)
    answer = await reader.read(-1)
    assert statuses(answer) == [401 if path == b"/deny" else 200 for path in paths] + [200]
    assert answered_before < 5001
    assert (
        len([exchange for exchange in proxy.exchanges if not exchange.head.path.startswith("/honest/")])
        == 5001
    )
    writer.close()


async def test_what_is_sent_behind_a_slow_call_waits_outside(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """A sized body behind a call that takes its time is not collected."""
    _, writer = await proxy.connect()
    size = 200_000_000
    writer.write(get(b"/slow-auth") + b"POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    sent, before = 0, -1
    while sent != before and sent < size:  # until nobody takes any more
        before = sent
        for _ in range(2000):
            if writer.transport.get_write_buffer_size() == 0:
                writer.write(bytes(65536))
                sent += 65536
            await asyncio.sleep(0)
    assert sent < 50_000_000
    proxy.gate.set()
    writer.transport.abort()
    await proxy.ended(1)


async def test_a_call_behind_an_aborted_one_is_not_made(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", then_close=True)
    _, writer = await proxy.connect()
    writer.write(get(b"/a") + b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert await proxy.outcome() is Outcome.UPSTREAM_ABORTED
    await eventually(lambda: proxy.slots.get("connections") == 1)  # the honest one
    assert targets(upstream) == [b"/a"]
    writer.close()


async def test_closing_in_the_middle_of_a_queue(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    proxy = await make_proxy()
    answer = await proxy.exchange(get(b"/a") + LAST + get(b"/smuggled"))
    assert statuses(answer) == [200, 200]
    assert targets(upstream) == [b"/a", b"/last"]

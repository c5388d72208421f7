"""T5: sockets without end, silent or slow, cost little each and are ended in time."""

from __future__ import annotations

import asyncio
import resource
import tracemalloc

import pytest

from gateway.dataplane.waits import Waits
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import (
    Honest,
    Reader,
    Writer,
    eventually,
    read_all,
    read_body,
    statuses,
    targets,
)

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


async def is_cut(proxy: Proxy) -> bool:
    """Whether a new connection is cut before it said anything."""
    reader, writer = await proxy.connect()
    try:
        writer.write(GET)
        return not await reader.read(1)
    except ConnectionError:
        return True
    finally:
        writer.close()


@pytest.mark.parametrize("waits", [Waits(max_connections=4), Waits(max_connections_per_address=4)])
async def test_connections_beyond_the_limit_are_cut(waits: Waits, make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(waits=waits)  # the honest client has one
    held = [await proxy.connect() for _ in range(3)]
    await eventually(lambda: proxy.slots.get("connections") == 4)
    assert await is_cut(proxy)
    assert proxy.slots.get("connections_refused_total") == 1
    held[0][1].close()
    await eventually(lambda: proxy.slots.get("connections") == 3)
    assert not await is_cut(proxy)


def time_is_up(proxy: Proxy, addresses: set[tuple[str, int]]) -> None:
    """For the callers at these addresses, each of which has a wait that ends."""
    now = asyncio.get_running_loop().time()
    theirs = [one for one in proxy.server._open if one.transport.get_extra_info("peername") in addresses]
    assert len(theirs) == len(addresses)
    for connection in theirs:
        assert connection.deadline <= now + 60
        connection.deadline = now


@pytest.mark.parametrize(
    ("case", "sent"),
    [("silent", b""), ("half a head", b"GET / HTTP/1.1\r\nX-A: b"), ("only line ends", b"\r\n\r\n")],
)
async def test_a_thousand_sockets_that_say_nothing(
    case: str, sent: bytes, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    proxy = await make_proxy(waits=Waits(head_s=60.0))  # however slowly they come, all are there at once
    honest = Honest(proxy)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    sockets = [await proxy.connect() for _ in range(1000)]
    for _, writer in sockets:
        writer.write(sent)
    await honest.call()
    await eventually(lambda: proxy.slots.get("connections") >= 1000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1000 * 40_000  # both ends of each and the test's own buffers
    await honest.call()
    time_is_up(proxy, {writer.get_extra_info("sockname") for _, writer in sockets})
    for reader, _ in sockets:
        assert set(statuses(await asyncio.wait_for(reader.read(-1), 20))) <= {408}
    await eventually(lambda: proxy.slots.get("connections") <= 3)


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize(
    ("case", "sent", "booked"),
    [
        ("half a head", b"GET / HTTP/1.1\r\nX-A: b", []),
        ("half a head behind a call", GET + b"GET / HTTP/1.1\r\nX-A: b", [Outcome.SERVED]),
        ("half a line", b"GE", []),
        ("a whole head and half a body", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab", None),
    ],
)
async def test_half_a_head_is_no_request(
    case: str,
    sent: bytes,
    booked: list[Outcome] | None,
    is_reset: bool,
    proxy: Proxy,
    upstream: ScriptedUpstream,
) -> None:
    """What got no answer and could never have been sent on is not booked; whatever has a whole head is."""

    async def whole_calls(reader: Reader, writer: Writer) -> None:
        while True:
            await read_body(await upstream.head(reader), reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = whole_calls
    reader, writer = await proxy.connect()
    writer.write(sent)
    if booked is None:
        await eventually(lambda: len(targets(upstream)) == 1)
    elif booked:
        await read_head(reader)
    else:
        await eventually(lambda: any(one._head_bytes for one in proxy.server._open))  # it has been read
    if is_reset:
        writer.transport.abort()
    else:
        writer.write_eof()
        await reader.read(-1)
    await eventually(lambda: proxy.slots.get("connections") <= 1)  # the honest client's stays
    ours = [exchange for exchange in proxy.exchanges if not exchange.head.path.startswith("/honest")]
    expected = [Outcome.CLIENT_ABORTED] if booked is None else booked
    assert [exchange.outcome for exchange in ours] == expected


@pytest.mark.parametrize("drip", [b"\r\n", b"X"])
async def test_a_drip_of_bytes_gains_no_time(drip: bytes, make_proxy: MakeProxy) -> None:
    proxy = await make_proxy(waits=Waits(head_s=1.0, keepalive_s=1.0))
    reader, writer = await proxy.connect()
    writer.write(b"GET / HTTP/1.1\r\nX: " if drip == b"X" else drip)
    loop = asyncio.get_running_loop()
    began = loop.time()
    ended = asyncio.create_task(reader.read(-1))
    while not ended.done():
        writer.write(drip)
        await asyncio.wait([ended], timeout=0.3)
        assert loop.time() - began < 60
    writer.close()


async def test_a_caller_that_pipelines_and_reads_nothing_gets_no_more_answers(
    make_proxy: MakeProxy,
) -> None:
    proxy = await make_proxy(waits=Waits(body_s=2.0))
    honest = Honest(proxy)
    _, writer = await proxy.connect()
    call = b"GET /deny HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    answered = -1
    while answered != len(proxy.exchanges):  # until the buffers between are full
        answered = len(proxy.exchanges)
        for _ in range(300):
            if writer.transport.get_write_buffer_size() < len(call):
                writer.write(call)
            await asyncio.sleep(0)
    await honest.call()
    # Kernel buffers on both ends take some megabytes, the gateway's own 64 kB; then it stops.
    assert answered * 500 < 50_000_000
    await eventually(lambda: proxy.slots.get("connections") == 2)  # given up; the honest ones stay
    writer.transport.abort()


async def test_a_slow_reader_of_small_answers_gets_all_of_them_in_the_end(proxy: Proxy) -> None:
    count = 30_000
    reader, writer = await proxy.connect()
    calls = GET.replace(b"/a", b"/deny") * count
    writer.write(calls + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answered = -1
    while answered != len(proxy.exchanges):  # it reads nothing yet
        answered = len(proxy.exchanges)
        for _ in range(2000):
            await asyncio.sleep(0)
    assert statuses(await read_all(reader)) == [401] * count + [200]
    writer.close()


async def test_an_idle_wait_begins_after_a_slow_reader_caught_up(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    size = 20_000_000
    upstream.answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    proxy = await make_proxy(waits=Waits(keepalive_s=0.5))
    reader, writer = await proxy.connect()
    writer.write(GET)
    await read_head(reader)
    await reader.readexactly(size)
    async with asyncio.timeout(20):
        assert await reader.read(-1) == b""  # the connection is closed when it has been idle
    writer.close()


async def test_an_answer_behind_one_that_is_not_read_waits_at_the_upstream(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    size = 300_000_000
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            target = (await upstream.head(reader)).split(b" ")[1]
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size if target == b"/big" else 9_000_000)
            )
            left = size if target == b"/big" else 9_000_000
            while left:
                piece = min(left, 60_000)
                writer.write(bytes(piece))
                await writer.drain()
                left -= piece
                sent += piece

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET + GET + GET.replace(b"/a", b"/big"))
    await read_head(reader)
    before = -1
    while sent != before:
        before = sent
        for _ in range(3000):
            await asyncio.sleep(0)
    assert sent < 60_000_000
    writer.transport.abort()
    await proxy.ended(1)

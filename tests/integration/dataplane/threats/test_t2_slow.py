"""T2: waits for an upstream end, and only the upstream's own slowness is held against it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.dataplane.waits import Waits
from gateway.model.policies import Timeouts
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import (
    Reader,
    Writer,
    eventually,
    lines_of,
    read_all,
    read_body,
    statuses,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("case", "raw", "status", "outcome"),
    [
        ("no answer", b"", 504, Outcome.TIMEOUT),
        ("half a head", b"HTTP/1.1 200 OK\r\n", 504, Outcome.TIMEOUT),
        ("only 100", b"HTTP/1.1 100 Continue\r\n\r\n", 504, Outcome.TIMEOUT),
        ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", None, Outcome.TIMEOUT),
    ],
)
async def test_a_silent_upstream(
    case: str,
    raw: bytes,
    status: int | None,
    outcome: Outcome,
    make_proxy: MakeProxy,
    upstream: ScriptedUpstream,
) -> None:
    proxy = await make_proxy(timeouts=Timeouts(response_s=0.2, idle_s=0.2))
    upstream.answering(raw)
    if status is None:
        reader, writer = await proxy.connect()
        writer.write(GET)
        with pytest.raises(ConnectionError):
            await read_all(reader)
        writer.close()
    else:
        assert statuses(await proxy.exchange(GET)) == [status]
    assert await proxy.outcome() is outcome


@pytest.mark.parametrize(
    ("case", "head", "trickle", "status"),
    [
        ("in its head", b"HTTP/1.1 200 OK\r\nX-A: ", b"x", 504),
        ("in interim answers", b"", b"HTTP/1.1 102 Processing\r\n\r\n", 504),
        ("in its body", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x", None),
        ("in its chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", None),
    ],
)
async def test_an_upstream_that_trickles_is_cut_when_the_time_is_over(
    case: str,
    head: bytes,
    trickle: bytes,
    status: int | None,
    make_proxy: MakeProxy,
    upstream: ScriptedUpstream,
) -> None:
    """Each piece comes in time for itself: only the whole wait ends it."""
    waits = Timeouts(response_s=60, idle_s=60, total_s=2) if status is None else Timeouts(response_s=0.3)
    proxy = await make_proxy(timeouts=waits)

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(head)
        while not writer.is_closing():
            writer.write(trickle)
            await asyncio.sleep(0.01)  # between two pieces, not as waiting

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(GET)
    if status is None:
        with pytest.raises(ConnectionError):
            await read_all(reader)
    else:
        answer = await read_all(reader)
        assert [one for one in statuses(answer) if one >= 200] == [status]
    writer.close()
    assert await proxy.outcome() is Outcome.TIMEOUT
    await eventually(lambda: proxy.slots.get("upstream_connections") <= 1)  # the honest one


@pytest.mark.parametrize(
    ("case", "host", "statuses_"),
    [
        ("nobody listens", "127.0.0.1", (502,)),
        ("its name is gone", "gone.invalid", (502, 504)),  # 504 where nobody answers for names
    ],
)
async def test_an_upstream_that_is_not_there(
    case: str, host: str, statuses_: tuple[int, ...], make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    with socket.socket() as taken:  # bound, and never listening
        taken.bind(("127.0.0.1", 0))
        upstream.port = taken.getsockname()[1]
        waits = Timeouts(connect_s=0.5)
        proxy = await make_proxy(is_watched=False, upstream_host=host, timeouts=waits)
        for _ in range(20):
            answer = await proxy.exchange(GET)
            assert len(statuses(answer)) == 1
            assert statuses(answer)[0] in statuses_
        outcomes = {exchange.outcome for exchange in proxy.exchanges}
        assert outcomes <= {Outcome.UPSTREAM_ERROR, Outcome.TIMEOUT}
        assert len(proxy.exchanges) == 20
        assert proxy.slots.get("upstream_connections") == 0


async def test_an_upload_that_stalls_is_the_callers_fault(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(timeouts=Timeouts(response_s=0.1), waits=Waits(body_s=1.0))

    async def script(reader: Reader, writer: Writer) -> None:
        await read_body(await upstream.head(reader), reader)

    upstream.script = script
    assert statuses(await proxy.exchange(POST % 10 + b"abc")) == [408]
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED


async def test_an_upstream_that_does_not_read_the_upload_is_504(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(timeouts=Timeouts(response_s=0.5), waits=Waits(body_s=60))
    done = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport reads, too
        await done.wait()

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(POST % 50_000_000 + bytes(50_000_000))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 504")
    assert await proxy.outcome() is Outcome.TIMEOUT
    done.set()
    writer.transport.abort()


async def test_a_connection_whose_answer_came_before_the_body_was_read_is_given_up(
    make_proxy: MakeProxy, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstream.connection.CLOSE_S", 0.2)
    proxy = await make_proxy()
    done = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport reads, too
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await done.wait()

    upstream.script = script
    reader, writer = await proxy.connect()
    writer.write(POST % 50_000_000 + bytes(50_000_000))
    head = await read_head(reader)
    assert head.startswith(b"HTTP/1.1 413")
    assert lines_of(head, b"content-length") == [b"0"]
    writer.transport.abort()
    await eventually(lambda: not proxy.slots.get("upstream_connections"))
    done.set()

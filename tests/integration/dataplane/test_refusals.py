"""Refusals of keys that wait to be due: in order, for nobody who has left, and no end hangs on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from gateway.accounts.keys import digest, mint
from gateway.accounts.records import FoundKey
from gateway.auth.authenticator import Authenticator
from gateway.auth.refusals import Refusals
from gateway.clock import ManualClock
from gateway.model.exchange import Exchange
from gateway.model.principal import Mode, Principal
from gateway.outcomes import Outcome
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import statuses, targets

GOOD = mint("tw", Mode.LIVE).secret.encode()
HOLDER = Principal(1, "acct_1", 7, "key_7", "team", Mode.LIVE, b"")


def get(path: bytes, key: bytes, *, last: bool = False) -> bytes:
    end = b"Connection: close\r\n" if last else b""
    return b"GET %b HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n%b\r\n" % (path, key, end)


class Waiting:
    """Refusals that go when the test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.rings: list[Callable[[], None]] = []
        self.refusals = Refusals(self.clock, 10, lambda _, ring: self.rings.append(ring), below=lambda _: 0)

    async def due(self) -> None:
        """Wait for the next one, and let it go."""
        async with asyncio.timeout(10):
            while not self.rings:
                await asyncio.sleep(0)
        self.clock.advance(0.01)
        rings, self.rings = self.rings, []
        for ring in rings:
            ring()


class Reception(Authenticator):
    """Says when calls came, as metering does."""

    def authenticate(self, exchange: Exchange) -> Coroutine[Any, Any, Principal]:
        exchange.started_monotonic_us = self.rights._clock.monotonic_us()
        return super().authenticate(exchange)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
async def proxy(make_proxy: MakeProxy, waiting: Waiting) -> AsyncIterator[Proxy]:
    async def look_up(key: bytes) -> FoundKey | None:
        return FoundKey(HOLDER, active=True) if key == digest(GOOD) else None

    tasks = Tasks()
    auth = Reception(look_up, Slots.in_memory(), waiting.clock, tasks, "tw", refusals=waiting.refusals)
    yield await make_proxy(auth=auth)
    await tasks.close()


async def test_pipelined_calls_are_answered_in_order(
    proxy: Proxy, waiting: Waiting, upstream: ScriptedUpstream
) -> None:
    unknown = mint("tw", Mode.LIVE).secret.encode()
    reader, writer = await proxy.connect()
    writer.write(get(b"/a", GOOD) + get(b"/b", b"garbage") + get(b"/c", GOOD))
    writer.write(get(b"/d", unknown) + get(b"/e", unknown) + get(b"/f", GOOD, last=True))
    assert statuses(await reader.readuntil(b"/a")) == [200]
    assert targets(upstream) == [b"/a"], "nothing overtakes a refusal"
    for _ in range(3):
        await waiting.due()
    assert statuses(await reader.read(-1)) == [401, 200, 401, 401, 200]
    assert targets(upstream) == [b"/a", b"/c", b"/f"]


async def test_who_leaves_meanwhile_is_let_go(proxy: Proxy, waiting: Waiting) -> None:
    _, writer = await proxy.connect()
    writer.write(get(b"/", b"garbage"))
    while not waiting.rings:
        await asyncio.sleep(0)
    writer.close()
    while proxy.server._open:
        await asyncio.sleep(0)
    assert proxy.exchanges == []
    await waiting.due()
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED
    assert not waiting.refusals._held


async def test_bodies_are_not_taken_meanwhile(proxy: Proxy, waiting: Waiting) -> None:
    _, writer = await proxy.connect()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nX-API-Key: garbage\r\nContent-Length: 100000000\r\n\r\n"
    writer.write(head + b"x" * 4_000_000)
    while not waiting.rings or not proxy.connection._reading_paused:
        await asyncio.sleep(0)
    exchange = proxy.connection.exchange
    assert exchange is not None
    assert exchange.ingress_bytes < 1_000_000
    await waiting.due()
    assert await proxy.outcome() is Outcome.UNAUTHENTICATED


async def test_a_worker_that_ends_answers_what_waits(proxy: Proxy, waiting: Waiting) -> None:
    reader, writer = await proxy.connect()
    writer.write(get(b"/", b"garbage"))
    while not waiting.rings:
        await asyncio.sleep(0)
    proxy.server.say_last()
    draining = asyncio.ensure_future(proxy.drain())
    await waiting.due()
    answer = await reader.read(-1)
    assert statuses(answer) == [401]
    assert b"Connection: close" in answer
    writer.close()
    await draining


async def test_a_worker_out_of_time_waits_for_nobody(proxy: Proxy, waiting: Waiting) -> None:
    reader, writer = await proxy.connect()
    writer.write(get(b"/", b"garbage"))
    while not waiting.rings:
        await asyncio.sleep(0)
    await proxy.drain(0)
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    await waiting.due()
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED
    writer.close()

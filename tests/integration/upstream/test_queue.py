"""Calls that wait while all connections to the upstream are in use, with real sockets."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from gateway.errors import UpstreamBusy
from gateway.model.policies import Keepalive, Retries, Timeouts
from gateway.outcomes import Outcome
from tests.integration.upstream.conftest import (
    GET,
    Gateway,
    MakeGateway,
    MakeTarget,
    Reader,
    ScriptedTarget,
    Writer,
    body_of,
    status_of,
)


def get(number: int) -> bytes:
    return GET.replace(b"/a", b"/%d" % number)


class Gated:
    """A target that answers each call with its path, one for each `let`."""

    def __init__(self, target: ScriptedTarget) -> None:
        self.target = target
        self._let = 0
        target.script = self._serve

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        while True:
            head = await self.target.head(reader)
            while not self._let:
                if writer.transport.is_closing():
                    return
                await asyncio.sleep(0)
            self._let -= 1
            path = head.split(b" ", 2)[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    def let(self, count: int = 1) -> None:
        self._let += count

    @property
    def order(self) -> list[int]:
        return [int(head.split(b" ", 2)[1][1:]) for head in self.target.heads]


async def waiting(gateway: Gateway, count: int) -> None:
    """Until so many calls wait."""
    async with asyncio.timeout(10):
        while gateway.slots.get("upstream_waiting") != count:
            await asyncio.sleep(0)


async def in_line(gateway: Gateway, count: int, first: int = 1) -> list[asyncio.Task[bytes]]:
    """Callers that came one after the other, and all wait."""
    before = gateway.slots.get("upstream_waiting")
    callers = []
    for number in range(count):
        callers.append(asyncio.ensure_future(gateway.call(get(first + number))))
        await waiting(gateway, before + number + 1)
    return callers


async def held(gateway: Gateway, gated: Gated) -> asyncio.Task[bytes]:
    """A call, number 0, that has the only connection."""
    asked = len(gated.target.heads)
    caller = asyncio.ensure_future(gateway.call(get(0)))
    await gated.target.asked(asked + 1)
    return caller


def check_nothing_is_left(gateway: Gateway) -> None:
    for pool in gateway.forwarder._groups["up"].pools:
        assert (pool.in_use, pool._opening, pool._held, pool._is_held) == (0, 0, [], False)
    assert gateway.slots.get("upstream_waiting") == 0


async def test_all_are_served_in_the_order_they_came(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    gated = Gated(await make_target())
    gateway = await make_gateway(gated.target, max_connections=1)
    callers = [await held(gateway, gated), *await in_line(gateway, 30)]
    gated.let(31)
    answers = await asyncio.gather(*callers)
    assert [body_of(answer) for answer in answers] == [b"/%d" % number for number in range(31)]
    assert gated.order == list(range(31))
    assert gated.target.connections == 1
    check_nothing_is_left(gateway)


async def test_beyond_the_bound_is_503_with_retry_after(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    gated = Gated(await make_target())
    gateway = await make_gateway(
        gated.target, max_connections=1, max_waiting=2, timeouts=Timeouts(queue_s=60)
    )
    callers = [await held(gateway, gated), *await in_line(gateway, 2)]
    answer = await gateway.call()
    assert status_of(answer) == 503
    assert b"\r\nRetry-After: 60\r\n" in answer
    assert b'"upstream_busy"' in answer
    gated.let(3)
    assert [status_of(answer) for answer in await asyncio.gather(*callers)] == [200] * 3
    assert Counter(one.outcome for one in gateway.exchanges) == {Outcome.SERVED: 3, Outcome.OVERLOADED: 1}
    check_nothing_is_left(gateway)


async def test_a_wait_that_is_too_long_is_503_with_retry_after(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    gated = Gated(await make_target())
    gateway = await make_gateway(gated.target, max_connections=1, timeouts=Timeouts(queue_s=0.05))
    first = await held(gateway, gated)
    answer = await gateway.call()
    assert status_of(answer) == 503
    assert b"\r\nRetry-After: 1\r\n" in answer
    gated.let()
    assert status_of(await first) == 200
    assert len(gated.target.heads) == 1
    check_nothing_is_left(gateway)


async def test_a_caller_that_hangs_up_leaves_the_queue_at_once(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    gated = Gated(await make_target())
    gateway = await make_gateway(gated.target, max_connections=1)
    first = await held(gateway, gated)
    _, leaving = await gateway.connect()
    leaving.write(get(1))
    await waiting(gateway, 1)
    (staying,) = await in_line(gateway, 1, first=2)
    leaving.close()
    await waiting(gateway, 1)
    gated.let(2)
    assert [body_of(answer) for answer in await asyncio.gather(first, staying)] == [b"/0", b"/2"]
    assert gated.order == [0, 2]
    check_nothing_is_left(gateway)


async def test_when_the_upstream_dies_everybody_who_waits_is_told(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    gated = Gated(await make_target())
    gateway = await make_gateway(gated.target, max_connections=2, timeouts=Timeouts(queue_s=60))
    holding = [asyncio.ensure_future(gateway.call(get(number))) for number in (100, 101)]
    await gated.target.asked(2)
    callers = await in_line(gateway, 20)
    await gated.target.stop()
    answers = await asyncio.gather(*holding, *callers)
    assert [status_of(answer) for answer in answers] == [502] * 22
    check_nothing_is_left(gateway)


async def test_when_one_target_dies_those_who_wait_go_to_the_other(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    dying, gated = Gated(await make_target("dying")), Gated(await make_target("other"))
    gateway = await make_gateway(dying.target, gated.target, max_connections=1, timeouts=Timeouts(queue_s=60))
    holding = [asyncio.ensure_future(gateway.call(get(number))) for number in (100, 101)]
    await asyncio.gather(dying.target.asked(1), gated.target.asked(1))
    callers = await in_line(gateway, 10)
    await dying.target.stop()
    gated.let(11)
    answers = await asyncio.gather(*callers)
    assert [body_of(answer) for answer in answers] == [b"/%d" % number for number in range(1, 11)]
    assert sorted(status_of(answer) for answer in await asyncio.gather(*holding)) == [200, 502]
    check_nothing_is_left(gateway)


async def test_a_drain_serves_those_who_wait(make_target: MakeTarget, make_gateway: MakeGateway) -> None:
    gated = Gated(await make_target())
    gateway = await make_gateway(gated.target, max_connections=1)
    callers = [await held(gateway, gated), *await in_line(gateway, 5)]
    stopping = asyncio.ensure_future(gateway.drain())
    gated.let(6)
    assert [status_of(answer) for answer in await asyncio.gather(*callers)] == [200] * 6
    await stopping
    assert gated.order == list(range(6))


async def test_a_reload_sends_those_who_wait_where_the_upstream_is_now(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    old, new = Gated(await make_target("old")), Gated(await make_target("new"))
    gateway = await make_gateway(old.target, max_connections=1, timeouts=Timeouts(queue_s=60))
    first = await held(gateway, old)
    callers = await in_line(gateway, 5)
    gateway.forwarder.adopt({"up": replace(gateway.spec, targets=(new.target.target,))})
    new.let(5)
    assert [status_of(answer) for answer in await asyncio.gather(*callers)] == [200] * 5
    assert new.order == [1, 2, 3, 4, 5]
    old.let()
    assert status_of(await first) == 200
    check_nothing_is_left(gateway)


async def test_a_body_that_came_while_its_call_waited_arrives_whole(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()
    gate = asyncio.Event()
    got = bytearray()

    async def script(reader: Reader, writer: Writer) -> None:
        await target.head(reader)
        await gate.wait()
        target.answer(writer)
        await reader.readuntil(b"\r\n\r\n")
        got.extend(await reader.readexactly(3_000_000))
        target.answer(writer)

    target.script = script
    gateway = await make_gateway(target, max_connections=1)
    first = asyncio.ensure_future(gateway.call())
    await target.asked(1)
    body = bytes(range(250)) * 12_000
    head = b"POST /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n"
    second = asyncio.ensure_future(gateway.call(head + body))
    await waiting(gateway, 1)
    gate.set()
    assert [body_of(answer) for answer in await asyncio.gather(first, second)] == [b"a", b"a"]
    assert bytes(got) == body


class Fickle:
    """A target that answers with the call's path after a while, or closes: before, within or after."""

    def __init__(self, target: ScriptedTarget, draw: random.Random) -> None:
        self.target = target
        self.draw = draw
        self.seen: Counter[bytes] = Counter()
        target.script = self._serve

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        while self.draw.random() > 0.05:  # else closed while idle, or under the next call
            head = await reader.readuntil(b"\r\n\r\n")
            if b"Content-Length: 4\r\n" in head:
                assert await reader.readexactly(4) == b"body"
            path = head.split(b" ", 2)[1]
            self.seen[path] += head.startswith(b"POST")
            for _ in range(self.draw.randrange(20)):
                await asyncio.sleep(0)
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path)
            if self.draw.random() < 0.05:
                writer.write(answer[: self.draw.randrange(len(answer))])
                return
            writer.write(answer)


async def fickle_caller(gateway: Gateway, draw: random.Random, number: int) -> bytes:
    """The answer to a call, or nothing if the caller or the target left before there was one."""
    method = draw.choice([b"GET", b"POST"])
    raw = get(number).replace(b"GET", method)
    if method == b"POST":
        raw = raw.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nbody")
    for _ in range(draw.randrange(200)):
        await asyncio.sleep(0)
    reader, writer = await gateway.connect()
    writer.write(raw)
    if draw.random() < 0.2:
        for _ in range(draw.randrange(50)):
            await asyncio.sleep(0)
        writer.transport.abort()
        return b""
    async with asyncio.timeout(30):
        with suppress(ConnectionError):
            return await reader.read(-1)
    return b""


@pytest.mark.parametrize("seed", range(3))
async def test_hundreds_that_come_and_leave_get_their_own_answer_or_a_clear_one(
    seed: int, make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    draw = random.Random(seed)
    targets = [Fickle(await make_target(name), draw) for name in ("one", "other")]
    gateway = await make_gateway(
        *(one.target for one in targets),
        max_connections=3,
        max_waiting=100,
        retries=Retries(attempts=5, percent=100, at_least=1000),
        keepalive=Keepalive(max_calls=20),
        timeouts=Timeouts(queue_s=60),
    )
    answers = await asyncio.gather(*(fickle_caller(gateway, draw, number) for number in range(400)))
    statuses = Counter(status_of(answer) if answer else 0 for answer in answers)
    for number, answer in enumerate(answers):
        if answer and status_of(answer) == 200:
            path = b"/%d" % number
            assert path.startswith(body_of(answer)), "its own answer, or the beginning of it"
    assert set(statuses) <= {0, 200, 502, 503}
    assert statuses[200]
    refused = sum(isinstance(error, UpstreamBusy) for error in gateway.errors)
    assert statuses[503] <= refused == gateway.slots.get("upstream_waits_total", "full")
    posts = sum((one.seen for one in targets), Counter[bytes]())
    assert all(count <= 1 for count in posts.values()), "no POST was sent twice"
    async with asyncio.timeout(10):
        while len(gateway.exchanges) < 400 - statuses[0]:
            await asyncio.sleep(0)
        while any(pool.in_use for pool in gateway.forwarder._groups["up"].pools):
            await asyncio.sleep(0)
    check_nothing_is_left(gateway)

"""Slots of several workers on one Redis: exactly as many calls at once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter

import pytest

from gateway.admission.slot_set import SLOT_MS
from gateway.errors import AdmissionUnavailable, ClientGone, ConcurrencyExceeded
from gateway.model.exchange import Exchange
from gateway.model.policies import ChargePlan, OnFull, OnStoreLoss
from gateway.outcomes import Outcome
from tests.integration.redis.conftest import PATIENT_S, OwnRedis, Worker
from tests.unit.admission.plans import at_once, call, limit, plan, quota

IN_TURN = OnFull.QUEUE


async def begin(worker: Worker, charges: ChargePlan) -> Exchange | None:
    """A call under way; None if it was refused."""
    exchange = call()
    assert exchange.principal is not None
    try:
        exchange.grant = await worker.admitter.admit(exchange.principal, charges, exchange)
    except ConcurrencyExceeded:
        return None
    return exchange


def end(worker: Worker, exchange: Exchange) -> None:
    exchange.outcome = Outcome.SERVED
    worker.admitter.settle(exchange)


async def in_use(worker: Worker, name: str = "builds") -> int:
    return int(await worker.redis.call(("ZCARD", f"tw:{{7l}}:c:{name}")))


async def test_of_many_at_once_exactly_as_many_pass(workers: list[Worker]) -> None:
    charges = plan(limit(60, burst=100_000), quota(100_000), at_once(7))
    turns = list(itertools.islice(itertools.cycle(workers), 100))
    begun = await asyncio.gather(*(begin(worker, charges) for worker in turns))
    assert sum(one is not None for one in begun) == 7
    for worker, one in zip(turns, begun, strict=True):
        if one is not None:
            end(worker, one)
    async with asyncio.timeout(10):
        while await in_use(workers[0]):
            await asyncio.sleep(0)
    assert await workers[0].left(charges) == (99_993, 99_993), "refused calls paid nothing"


@pytest.mark.parametrize("on_full", OnFull)
async def test_under_load_never_more_than_allowed_are_under_way(
    workers: list[Worker], on_full: OnFull
) -> None:
    charges, most_seen, under_way, served = plan(at_once(5, on_full=on_full)), 0, 0, 0

    async def caller(worker: Worker) -> None:
        nonlocal most_seen, under_way, served
        while served < 400:
            exchange = await begin(worker, charges)
            if exchange is None:
                await asyncio.sleep(0.001)
                continue
            under_way += 1
            served += 1
            most_seen = max(most_seen, under_way)
            await asyncio.sleep(0.002)
            under_way -= 1
            end(worker, exchange)

    async with asyncio.timeout(60):
        await asyncio.gather(*(caller(worker) for worker in workers for _ in range(5)))
    assert most_seen == 5


async def test_callers_who_leave_the_queue_at_any_moment_take_nothing_along(workers: list[Worker]) -> None:
    """Two of three leave: before they wait, meanwhile, while it is their turn, when they have their slot."""
    charges, begun, most_seen, chance = plan(at_once(3, on_full=IN_TURN)), set[int](), 0, random.Random(7)

    async def caller(worker: Worker, leaves_after: int | None) -> str:
        nonlocal most_seen
        exchange, answer = call(), "served"
        assert exchange.principal is not None
        admitting = asyncio.ensure_future(worker.admitter.admit(exchange.principal, charges, exchange))
        if leaves_after is not None:
            for _ in range(leaves_after):
                await asyncio.sleep(0)
            exchange.broken = ClientGone()
            if exchange.uplink is not None:
                exchange.uplink.cancel()
        try:
            exchange.grant = await admitting
        except ClientGone:
            return "left"
        if exchange.broken is None:
            begun.add(id(exchange))
            most_seen = max(most_seen, len(begun))
            await asyncio.sleep(0.001)
            begun.remove(id(exchange))
        else:
            answer = "left with a slot"
        exchange.outcome = Outcome.SERVED if exchange.broken is None else Outcome.CLIENT_ABORTED
        worker.admitter.settle(exchange)
        return answer

    def moment(number: int) -> int | None:
        return chance.randrange(chance.choice((3, 50, 1000))) if number % 3 else None

    async with asyncio.timeout(60):
        told = Counter(await asyncio.gather(*(caller(workers[one % 4], moment(one)) for one in range(360))))
        assert (told["served"], sum(told.values()), most_seen) == (120, 360, 3), told
        while await in_use(workers[0]):
            await asyncio.sleep(0)
    assert [worker.slots.get("concurrency_waiting") for worker in workers] == [0] * 4
    assert {worker.slots.get("concurrency_calls") for worker in workers} == {0}


async def test_a_killed_worker_s_slots_come_back(redis_url: str, workers: list[Worker]) -> None:
    charges = plan(at_once(2))
    victim = await Worker(redis_url, timeout_s=PATIENT_S).start()
    for _ in range(2):
        assert await begin(victim, charges) is not None
    assert await begin(workers[0], charges) is None
    await victim.die()
    scores = (await workers[0].redis.call(("ZRANGE", "tw:{7l}:c:builds", 0, -1, "WITHSCORES")))[1::2]
    assert all(float(score) <= time.time() * 1000 + SLOT_MS for score in scores), "not for ever"
    async with asyncio.timeout(SLOT_MS / 1000 + 20):
        while await begin(workers[0], charges) is None:
            await asyncio.sleep(0.05)


async def test_a_long_call_keeps_its_slot(worker: Worker) -> None:
    held = await begin(worker, plan(at_once(1)))
    assert held is not None
    key = "tw:{7l}:c:builds"
    (first,) = (await worker.redis.call(("ZRANGE", key, 0, -1, "WITHSCORES")))[1::2]
    async with asyncio.timeout(20):
        while (await worker.redis.call(("ZRANGE", key, 0, -1, "WITHSCORES")))[1] == first:
            await asyncio.sleep(0.05)
    assert await begin(worker, plan(at_once(1))) is None
    end(worker, held)


async def test_a_flushed_redis_learns_of_calls_under_way(worker: Worker) -> None:
    held = await begin(worker, plan(at_once(1)))
    assert held is not None
    await worker.redis.call(("FLUSHALL",))
    async with asyncio.timeout(20):
        while not await in_use(worker):
            await asyncio.sleep(0.05)
    assert await begin(worker, plan(at_once(1))) is None
    end(worker, held)


async def test_a_queued_call_gets_the_slot_of_another_worker(workers: list[Worker]) -> None:
    charges = plan(at_once(1, on_full=IN_TURN))
    held = await begin(workers[0], charges)
    assert held is not None
    waiting = asyncio.ensure_future(begin(workers[1], charges))
    async with asyncio.timeout(10):
        while not workers[1].slots.get("concurrency_waiting"):
            await asyncio.sleep(0)
    end(workers[0], held)
    async with asyncio.timeout(10):
        got = await waiting
    assert got is not None
    end(workers[1], got)


@pytest.mark.parametrize("action", [OnStoreLoss.REFUSE, OnStoreLoss.ALLOW])
async def test_without_redis_those_who_wait_are_told_at_once(
    own_redis: OwnRedis, worker: Worker, action: OnStoreLoss
) -> None:
    charges = plan(at_once(1, on_full=IN_TURN), on_store_loss=action)
    held = await begin(worker, charges)
    assert held is not None
    waiting = [asyncio.ensure_future(begin(worker, charges)) for _ in range(20)]
    async with asyncio.timeout(10):
        while worker.slots.get("concurrency_waiting") < 20:
            await asyncio.sleep(0)
    own_redis.kill()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    if action is OnStoreLoss.REFUSE:
        assert {type(one) for one in results} == {AdmissionUnavailable}
    else:
        assert all(isinstance(one, Exchange) for one in results)
    end(worker, held)

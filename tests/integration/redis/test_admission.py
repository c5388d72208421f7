"""Several workers on one Redis, and what happens to their calls when it goes away."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import struct
import time
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from gateway.admission.charges import Charges
from gateway.admission.decider import Decider
from gateway.admission.redis_store import RedisStore
from gateway.admission.store import EXACT
from gateway.clock import ManualClock
from gateway.errors import AdmissionUnavailable, QuotaExceeded, RateLimited
from gateway.model.policies import AdmissionMode, ChargePlan, OnStoreLoss
from gateway.outcomes import Outcome
from gateway.storage.redis import check_redis
from tests.integration.redis.conftest import PATIENT_S, OwnRedis, Worker
from tests.unit.admission.plans import call, limit, plan, principal, quota

MODES = list(AdmissionMode)


async def passes(worker: Worker, charges: ChargePlan) -> bool:
    try:
        await worker.admitter.admit(principal(), charges, call())
    except (RateLimited, QuotaExceeded):
        return False
    return True


@pytest.mark.parametrize("mode", MODES)
async def test_of_all_calls_at_once_exactly_the_quota_passes(
    workers: list[Worker], mode: AdmissionMode
) -> None:
    charges = plan(limit(60, burst=100_000), quota(100), mode=mode)
    turns = itertools.islice(itertools.cycle(workers), 300)
    answers = await asyncio.gather(*(passes(worker, charges) for worker in turns))
    assert sum(answers) == 100


@pytest.mark.parametrize("mode", MODES)
async def test_of_all_calls_at_once_exactly_the_burst_passes(
    workers: list[Worker], mode: AdmissionMode
) -> None:
    charges = plan(limit(1, burst=64, period_ms=86_400_000), mode=mode)
    turns = itertools.islice(itertools.cycle(workers), 200)
    answers = await asyncio.gather(*(passes(worker, charges) for worker in turns))
    assert sum(answers) == 64


@pytest.mark.parametrize("mode", MODES)
async def test_all_or_nothing_under_concurrency(workers: list[Worker], mode: AdmissionMode) -> None:
    charges = plan(
        limit(1, burst=500, period_ms=86_400_000), quota(150), (quota(200, meter="tokens"), 2), mode=mode
    )
    turns = itertools.islice(itertools.cycle(workers), 300)
    answers = await asyncio.gather(*(passes(worker, charges) for worker in turns))
    assert sum(answers) == 100
    assert await workers[0].left(charges) == (400, 50, 0)


async def test_leased_a_quota_is_given_out_to_the_last_unit_and_no_further(workers: list[Worker]) -> None:
    charges, amount, passed = plan(quota(9000), mode=AdmissionMode.AUTO), 9000, 0

    async def caller(worker: Worker) -> None:
        nonlocal passed
        refused_in_a_row = 0
        while passed < amount or refused_in_a_row < 50:
            if await passes(worker, charges):
                passed, refused_in_a_row = passed + 1, 0
            else:
                refused_in_a_row += 1
                await asyncio.sleep(0.001)

    async with asyncio.timeout(60):
        await asyncio.gather(*(caller(worker) for worker in workers for _ in range(8)))
    assert passed == amount
    assert sum(worker.slots.get("admission_leased_total") for worker in workers) > 1000


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("case", "charged", "cost", "most"),
    [
        ("a quota of one", [quota(1)], 1, 1),
        ("a burst of one", [limit(1, burst=1, period_ms=86_400_000)], 1, 1),
        ("a cost of the whole burst", [limit(1, burst=5, period_ms=86_400_000)], 5, 1),
        (
            "a cost that was more than a burst that is changed",
            [limit(1, burst=5, period_ms=86_400_000)],
            50,
            1,
        ),
        ("a cost of the whole amount", [(quota(7), 7)], 1, 1),
        ("a rest that pays for nothing", [(quota(34), 3)], 1, 11),
    ],
)
async def test_the_smallest_give_out_what_they_have(
    workers: list[Worker], mode: AdmissionMode, case: str, charged: list[Any], cost: int, most: int
) -> None:
    charges, passed = plan(*charged, mode=mode, cost=cost), 0
    for _ in range(4):
        turns = itertools.islice(itertools.cycle(workers), 40)
        passed += sum(await asyncio.gather(*(passes(worker, charges) for worker in turns)))
    assert passed == most, case


@pytest.mark.parametrize("mode", MODES)
async def test_millionths_add_up_to_the_last_one(workers: list[Worker], mode: AdmissionMode) -> None:
    """Reserved, then settled with what they turned out to cost, or refunded: the counter is the sum."""
    amount, reserve, chance = 10**15 - 1, 250_001, random.Random(11)
    charges, used, due = (
        plan((quota(amount, meter="cents"), reserve), quota(1000), mode=mode),
        9 * 10**14 + 7,
        0,
    )
    name = Charges(charges, workers[0].store.now_ms()).keys[0]
    await workers[0].redis.call(("SET", "tw:{7l}:" + name, used, "PX", 3_600_000))
    for number in range(400):
        worker, one = workers[number % 4], call()
        one.grant = await worker.admitter.admit(principal(), charges, one)
        one.outcome = chance.choice((Outcome.SERVED, Outcome.SERVED, Outcome.UPSTREAM_ERROR))
        if one.outcome is Outcome.SERVED:
            units = chance.choice((0, 1, reserve, chance.randrange(10**6), chance.randrange(10**11)))
            one.due, due = {"cents": units, "api_calls": 1}, due + units
        worker.admitter.settle(one)
    for worker in workers:
        await worker.admitter.close()
    assert int(await workers[0].redis.call(("GET", "tw:{7l}:" + name))) == used + due


async def test_a_killed_worker_s_calls_come_back(redis_url: str, workers: list[Worker]) -> None:
    charges = plan(limit(1600, burst=1600, period_ms=1000), mode=AdmissionMode.AUTO)
    victim = await Worker(redis_url, timeout_s=PATIENT_S).start()
    for _ in range(40):
        await passes(victim, charges)
    held = [key for key in await workers[0].redis.call(("HKEYS", "tw:{7l}:b:burst")) if key.startswith(b"h:")]
    assert len(held) == 1
    await victim.die()
    async with asyncio.timeout(30):
        while await workers[0].left(charges) != (1600,):
            await asyncio.sleep(0.01)


@pytest.fixture(params=[signal.SIGKILL, signal.SIGSTOP])
async def lost_redis(request: pytest.FixtureRequest, own_redis: OwnRedis, worker: Worker) -> Worker:
    """A worker whose Redis has just gone."""
    assert await passes(worker, plan(limit(), quota()))
    own_redis.signal(request.param)
    return worker


@pytest.mark.parametrize("mode", MODES)
async def test_without_redis_calls_are_refused_when_the_policy_says_so(
    lost_redis: Worker, mode: AdmissionMode
) -> None:
    for _ in range(5):
        with pytest.raises(AdmissionUnavailable):
            await lost_redis.admitter.admit(principal(), plan(limit(), mode=mode), call())


@pytest.mark.parametrize("mode", MODES)
async def test_without_redis_calls_pass_when_the_policy_says_so(
    lost_redis: Worker, mode: AdmissionMode
) -> None:
    charges = plan(limit(burst=1), mode=mode, on_store_loss=OnStoreLoss.ALLOW)
    grants = [await lost_redis.admitter.admit(principal(), charges, call()) for _ in range(5)]
    assert {grant.charged for grant in grants} == {False}


async def test_a_restarted_redis_still_knows_its_counters(own_redis: OwnRedis, worker: Worker) -> None:
    charges = plan(quota(5))
    for _ in range(3):
        assert await passes(worker, charges)
    await asyncio.sleep(1.1)  # the embedded Redis writes its log once a second
    own_redis.kill()
    own_redis.start_again()
    while worker.redis.up:
        await asyncio.sleep(0.001)
    assert await worker.redis.wait_until_up(10)
    assert [await passes(worker, charges) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_redis_hears_of_after_the_caller_gave_up_is_not_charged(
    own_redis: OwnRedis, worker: Worker, mode: AdmissionMode
) -> None:
    charges = plan(limit(1, burst=50, period_ms=86_400_000), quota(50), mode=mode)
    assert await passes(worker, charges)
    own_redis.signal(signal.SIGSTOP)
    calls = [asyncio.ensure_future(passes(worker, charges)) for _ in range(10)]
    refused = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in refused} == {AdmissionUnavailable}
    own_redis.signal(signal.SIGCONT)
    assert await worker.redis.wait_until_up(10)
    assert await worker.left(charges) == (49, 49)


async def test_a_replica_is_left_whichever_call_of_a_tick_it_can_not_charge(
    own_redis: OwnRedis, worker: Worker
) -> None:
    """Of one whose bucket is empty it could say so without a write."""
    charges = plan(limit(1, burst=1, period_ms=86_400_000))
    assert [await passes(worker, charges) for _ in range(2)] == [True, False]
    await worker.redis.call(("REPLICAOF", "127.0.0.1", "1"))
    calls = [worker.admitter.admit(principal(account), charges, call(account)) for account in (7, 8, 9)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in answers] == [AdmissionUnavailable] * 3
    assert not worker.redis.up


async def test_the_rights_named_in_the_docs_are_enough(own_redis: OwnRedis, worker: Worker) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "admission.md").read_text()
    rights = docs.split("An ACL user needs `")[1].split("`")[0].split()
    await worker.redis.call(("ACL", "SETUSER", "gw", "on", ">secret", *rights))
    url = own_redis.url.replace("unix://", "unix://gw:secret@") + "?db=1"
    await check_redis(url)
    charges = plan(limit(1, burst=10_000, period_ms=86_400_000), quota(100_000), mode=AdmissionMode.AUTO)
    other = await Worker(url).start()
    assert all([await passes(other, charges) for _ in range(300)])
    await other.redis.call(("SCRIPT", "LOAD", "return 1"))
    await other.close()
    again = await Worker(url).start()
    assert await again.left(charges) == (9_700, 99_700)
    await again.close()


async def test_forgotten_scripts_cost_nobody_a_call(worker: Worker) -> None:
    charges = plan(quota(100))
    for _ in range(3):
        await worker.redis.call(("SCRIPT", "FLUSH"))
        answers = await asyncio.gather(*(passes(worker, charges) for _ in range(10)))
        assert all(answers)
    assert await worker.left(charges) == (70,)


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
async def test_a_gateway_whose_clock_is_wrong_counts_in_redis_s_period(worker: Worker, ahead_s: int) -> None:
    wrong = ManualClock(time.time_ns() // 1000 + ahead_s * 1_000_000)
    store = RedisStore(worker.redis, wrong)
    right_ms = worker.store.now_ms()
    await worker.left(plan(quota(5)))
    charges, decision = await Decider(store).decide("7l", plan(quota(5)), EXACT)
    assert abs(decision.now_ms - right_ms) < 60_000
    assert charges.starts_ms <= decision.now_ms < charges.ends_ms


@pytest.mark.parametrize(
    ("case", "state", "passing"),
    [
        ("cut off", b"\0" * 31, 2),
        ("empty", b"", 2),
        ("text", b"1;2;3", 2),
        ("not a number", struct.pack("<4d", nan, 1, 1, 1), 2),
        ("without end", struct.pack("<4d", inf, inf, inf, inf), 2),
        ("of a period of nothing", struct.pack("<4d", 1, 1, 0, 0), 2),
        ("with numbers of a later version", struct.pack("<5d", 0, 1e15, 86_400_000, 1e15, 7), 0),
    ],
)
async def test_a_level_that_can_not_be_read_is_that_of_a_full_bucket(
    worker: Worker, case: str, state: bytes, passing: int
) -> None:
    bucket = "tw:{7l}:b:burst"
    if passing == 0:
        now_ms = worker.store.now_ms()
        state = struct.pack("<5d", 0, now_ms, 86_400_000, now_ms, 7)
    await worker.redis.call(("HSET", bucket, "state", state))
    charges = plan(limit(1, burst=2, period_ms=86_400_000), mode=AdmissionMode.EXACT)
    assert [await passes(worker, charges) for _ in range(3)] == [True] * passing + [False] * (3 - passing), (
        case
    )


async def test_fields_of_another_version_in_a_bucket_are_dropped(worker: Worker) -> None:
    """Nobody's calls fail of them, and they cost nobody anything afterwards."""
    bucket = "tw:{7l}:b:burst"
    await worker.redis.call(
        ("HSET", bucket, "level", 5, "at", 1_784_000_000_000, "h:w", "some", "x:y", "7:8")
    )
    charges = plan(limit(1, burst=2, period_ms=86_400_000), mode=AdmissionMode.EXACT)
    assert [await passes(worker, charges) for _ in range(3)] == [True, True, False]
    assert await worker.redis.call(("HKEYS", bucket)) == [b"state"]

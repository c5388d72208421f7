"""Several worker processes on one Redis: what is sold is neither exceeded nor wasted, whoever is killed.

`RATE_SECONDS=10` runs the rates for as long as that; by default it is two seconds each.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from pathlib import Path

import pytest

from gateway.admission.leases import SIZE_MAX as SLICE_MAX
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.token_bucket import HOLD_MS
from gateway.model.policies import AdmissionMode
from tests.integration.redis.conftest import PATIENT_S, Worker
from tests.integration.redis.crowd import ADMITTED, BIN_NS, CALLERS, OFFERED, UNKNOWN, Charged, Crowd

SECONDS = float(os.environ.get("RATE_SECONDS", "2"))
MODES = [mode.value for mode in AdmissionMode]
BIN_S = BIN_NS / 1e9


def first_offer(crowd: Crowd) -> int:
    return next(at for at, offered in enumerate(crowd.by_time(OFFERED)) if offered)


async def until(crowd: Crowd, column: int, count: int) -> None:
    async with asyncio.timeout(30):
        while crowd.total(column) < count:
            await asyncio.sleep(0.01)


async def run(crowd: Crowd, seconds: float) -> None:
    """So long from the first call on."""
    await until(crowd, OFFERED, 1)
    await asyncio.sleep(seconds)
    crowd.end()


def expect_within(crowd: Crowd, rate: int, burst: int) -> None:
    """At no moment more than the burst and what flowed in until then."""
    began = first_offer(crowd)
    for at, admitted in enumerate(itertools.accumulate(crowd.by_time(ADMITTED))):
        assert admitted <= burst + rate * max(0, at + 1 - began) * BIN_S, f"after {at * BIN_S} s"


def ideal(crowd: Crowd, rate: int, burst: int) -> float:
    """What one bucket would have admitted of the calls that were offered, when they were."""
    tokens, admitted = float(burst), 0.0
    for offered in crowd.by_time(OFFERED)[first_offer(crowd) :]:
        taken = min(tokens, offered)
        admitted, tokens = admitted + taken, min(burst, tokens - taken + rate * BIN_S)
    return admitted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", [10, 1000, 20_000])
async def test_a_rate_is_neither_exceeded_nor_wasted(
    redis_url: str, tmp_path: Path, rate: int, mode: str
) -> None:
    burst = max(10, rate // 4)
    crowd = Crowd(redis_url, tmp_path, Charged(mode, rate=rate, burst=burst))
    await run(crowd, SECONDS)
    expect_within(crowd, rate, burst)
    assert crowd.total(ADMITTED) + crowd.total(UNKNOWN) >= 0.98 * ideal(crowd, rate, burst) - 1


@pytest.mark.parametrize("mode", MODES)
async def test_killed_workers_tokens_come_back_and_never_twice(
    redis_url: str, tmp_path: Path, mode: str
) -> None:
    rate, burst = 1600, 1600
    charged = Charged(mode, rate=rate, burst=burst)
    crowd, other = Crowd(redis_url, tmp_path, charged), await Worker(redis_url, timeout_s=PATIENT_S).start()
    for row in (0, 1, 2):
        await until(crowd, ADMITTED, crowd.total(ADMITTED) + random.randrange(100, 700))
        crowd.kill(row)
    crowd.end()
    expect_within(crowd, rate, burst)
    async with asyncio.timeout(HOLD_MS / 1000 + 20):
        while await other.left(charged.plan) != (burst,):
            await asyncio.sleep(0.01)
    await other.close()


@pytest.mark.parametrize("mode", MODES)
async def test_of_a_quota_killed_workers_take_at_most_a_slice_each(
    redis_url: str, tmp_path: Path, mode: str
) -> None:
    amount = 9000
    crowd = Crowd(redis_url, tmp_path, Charged(mode, amount=amount))
    for row in (0, 1):
        await until(crowd, ADMITTED, crowd.total(ADMITTED) + random.randrange(500, 1500))
        crowd.kill(row)
    await until(crowd, ADMITTED, amount - 2 * SLICE_MAX - crowd.total(UNKNOWN))
    await until(crowd, OFFERED, crowd.total(OFFERED) + 2000)
    crowd.end()
    taken_along = 2 * (CALLERS if mode == "exact" else SLICE_MAX)  # charged, and nobody was told
    assert amount - taken_along <= crowd.total(ADMITTED) + crowd.total(UNKNOWN)
    assert crowd.total(ADMITTED) <= amount


async def test_killed_workers_slots_come_back_and_never_twice(redis_url: str, tmp_path: Path) -> None:
    charged, slots = Charged("auto", slots=8), "tw:{7l}:c:builds"
    crowd, other = Crowd(redis_url, tmp_path, charged), await Worker(redis_url, timeout_s=PATIENT_S).start()

    async def in_use() -> int:
        seconds, micros = await other.redis.call(("TIME",))
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        return int(await other.redis.call(("ZCOUNT", slots, f"({now_ms}", "+inf")))

    for row in (0, 1, 2, 3):
        await until(crowd, ADMITTED, crowd.total(ADMITTED) + 200)
        assert await in_use() <= 8
        crowd.kill(row)
    async with asyncio.timeout(SLOT_MS / 1000 + 20):
        while await in_use():
            await asyncio.sleep(0.05)
    await other.close()


@pytest.mark.parametrize("mode", MODES)
async def test_a_tier_that_flaps_keeps_what_is_used_and_sells_no_more_than_the_larger_one(
    redis_url: str, tmp_path: Path, mode: str
) -> None:
    """An account goes up and down 140 times a second while its calls come, leases of both tiers in hand."""
    lower, higher = 6000, 9000
    charged = Charged(mode, rate=20_000, burst=3000, amount=lower, other_rate=90_000, other_amount=higher)
    crowd, other = Crowd(redis_url, tmp_path, charged), await Worker(redis_url, timeout_s=PATIENT_S).start()
    await until(crowd, ADMITTED, higher - 4 * CALLERS - crowd.total(UNKNOWN))
    await until(crowd, OFFERED, crowd.total(OFFERED) + 2000)
    crowd.end()
    admitted, unknown = crowd.total(ADMITTED), crowd.total(UNKNOWN)
    left = [(await other.left(one))[-1] for one in charged.plans]
    assert left == [lower - higher, 0], "what is used stays used, and all that was bought ahead came back"
    assert admitted <= higher <= admitted + unknown
    await other.close()

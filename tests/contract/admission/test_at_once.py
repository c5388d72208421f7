"""Calls of many accounts in one tick: each is decided as if it came alone, in the order they came."""

from __future__ import annotations

import random

import pytest

from gateway.admission.admit_script import CALLS_MAX
from gateway.admission.charges import Charges
from gateway.admission.memory_store import MemoryStore
from gateway.admission.redis_store import RedisStore
from gateway.admission.store import EXACT, Ask, Decision, Status, Store
from gateway.clock import ManualClock, SystemClock
from gateway.errors import StoreRefused
from gateway.inline import waited
from gateway.storage.redis_tick import TickRedis
from tests.unit.admission.plans import at_once, limit, plan, quota

PLANS = [
    plan(limit(600, burst=9, period_ms=1000)),
    plan(limit(60, burst=30), quota(25)),
    plan(limit(60, burst=200), (quota(40, soft=True, notify=(10, 50, 100)), 2), quota(90, meter="tokens")),
    plan(limit(60, burst=160), (quota(60, shadow=True), 2), limit(9, burst=9, name="tried", shadow=True)),
    plan(limit(60, burst=40), quota(5000), at_once(3), at_once(5, name="few")),
]
Call = tuple[str, Charges, Ask]


def some_calls(chance: random.Random, charges: list[Charges]) -> list[Call]:
    calls: list[Call] = []
    for number in range(chance.randrange(1, 3 * CALLS_MAX)):
        paid = chance.choice(charges)
        ask = chance.choice(
            [EXACT, EXACT, Ask(calls=chance.randrange(5)), Ask("a", 1, 64), Ask("b", 0, 8, 3)]
        )
        if paid.slot_keys:
            ask = Ask(slot=chance.choice(["", f"w.{number}"]))
        calls.append((f"{chance.randrange(1, 9)}l", paid, ask))
    return calls


async def each(store: Store, calls: list[Call]) -> list[Decision]:
    return [await store.decide(*call) for call in calls]


async def together(store: Store, calls: list[Call]) -> list[Decision]:
    waits = [waited(store.decide(*call)) for call in calls]
    return [await wait for wait in waits]


@pytest.mark.parametrize("seed", range(12))
async def test_calls_of_a_tick_are_decided_as_one_after_the_other(
    redis: TickRedis, clock: ManualClock, seed: int
) -> None:
    chance = random.Random(seed)
    memory, store = MemoryStore(clock), RedisStore(redis, SystemClock(), time_from=clock)
    charges = [Charges(one, clock.now_us() // 1000) for one in PLANS]
    for _ in range(12):
        calls = some_calls(chance, charges)
        assert await together(store, calls) == await each(memory, calls)
        clock.advance(chance.choice([0, 0.01, 0.4, 7]))


@pytest.mark.parametrize("broken", [0, 1, CALLS_MAX - 1, CALLS_MAX, CALLS_MAX + 7])
async def test_a_counter_that_is_none_fails_the_calls_of_its_own_account(
    redis: TickRedis, clock: ManualClock, broken: int
) -> None:
    store = RedisStore(redis, SystemClock(), time_from=clock)
    charges = Charges(plan(limit(burst=20), quota(50)), clock.now_us() // 1000)
    await redis.call(("RPUSH", f"tw:{{{broken}l}}:{charges.keys[1]}", "x"))
    waits = [waited(store.decide(f"{number}l", charges, EXACT)) for number in range(CALLS_MAX + 8)]
    with pytest.raises(StoreRefused) as refused:
        await waits.pop(broken)
    assert "WRONGTYPE" in refused.value.said
    assert {(one.status, one.left) for one in [await wait for wait in waits]} == {(Status.ADMITTED, (19, 49))}

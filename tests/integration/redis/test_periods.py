"""The end of a period, with calls bought in advance, on a real Redis whose clock the test moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime

import pytest

from gateway.admission.admitter import Admitter
from gateway.admission.redis_store import RedisStore
from gateway.clock import ManualClock, SystemClock
from gateway.errors import QuotaExceeded
from gateway.model.exchange import Grant
from gateway.model.periods import Calendar
from gateway.model.policies import AdmissionMode, ChargePlan
from gateway.model.principal import Mode, Principal
from gateway.outcomes import Outcome
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.plans import call, plan, quota

NEW_YORK = Calendar(date(2026, 1, 31), "America/New_York")
BOUNDARY_US = round(datetime(2026, 2, 28, 5, 0, tzinfo=UTC).timestamp()) * 1_000_000
AMOUNT = 5000


class Side:
    """Two workers of an account in New York, anchored on the 31st, and what they let pass."""

    def __init__(self, admitters: list[Admitter], redis: TickRedis, clock: ManualClock) -> None:
        self.admitters, self.redis, self.clock = admitters, redis, clock
        self.passed: Counter[str] = Counter()

    async def call(self, charges: ChargePlan, times: int, by: Calendar = NEW_YORK) -> list[Grant]:
        """As many calls as pass of so many, by the counter they were charged to."""
        caller = Principal(7, "acct_7", 1, "key_1", "community", Mode.LIVE, b"", calendar=by)
        grants = []
        for number in range(times):
            try:
                grants.append(await self.admitters[number % 2].admit(caller, charges, call()))
            except QuotaExceeded:
                continue
            self.passed[grants[-1].periods.counters[0]] += 1
            if number % 50 == 0:
                await self.redis.call(("PING",))  # purchases under way come to an end
        return grants

    async def settled(self) -> dict[str, int]:
        """What the counters say once every lease has come back."""
        for _ in range(2):  # what was being bought comes first
            self.clock.advance(1)
            for one in self.admitters:
                one.upkeep()
            await self.redis.call(("PING",))
        keys = [key.decode() for key in await self.redis.call(("KEYS", "tw:{7l}:q:*"))]
        return {key.removeprefix("tw:{7l}:"): int(await self.redis.call(("GET", key))) for key in keys}


@pytest.fixture
async def side(redis_url: str) -> AsyncIterator[Side]:
    tasks, clock, slots = Tasks(), ManualClock(BOUNDARY_US - 300_000), Slots.in_memory()
    redis = TickRedis(parse_address(redis_url), slots, tasks, timeout_s=5)
    redis.start()
    assert await redis.wait_until_up()
    store = RedisStore(redis, SystemClock(), time_from=clock)
    admitters = [Admitter(store, slots, clock, tasks, name) for name in ("a", "b")]
    yield Side(admitters, redis, clock)
    for one in admitters:
        await one.close()
    await redis.close()
    await tasks.close()


@pytest.mark.parametrize("mode", list(AdmissionMode))
async def test_a_period_ends_for_all_at_once_and_gives_out_its_amount(
    side: Side, mode: AdmissionMode
) -> None:
    charges = plan(quota(AMOUNT), mode=mode)
    old = await side.call(charges, 700)
    side.clock.advance(0.299_999)
    old += await side.call(charges, 20)
    side.clock.advance(0.000_001)
    new = await side.call(charges, 700)
    assert {one.periods.end_us for one in old} == {one.periods.start_us for one in new} == {BOUNDARY_US}
    await side.call(charges, 2 * AMOUNT)
    assert sorted(side.passed.values()) == [720, AMOUNT]
    assert await side.settled() == side.passed


async def test_what_fails_after_the_boundary_goes_back_to_the_period_before(side: Side) -> None:
    charges = plan(quota(AMOUNT), mode=AdmissionMode.AUTO)
    grants = await side.call(charges, 50)
    side.clock.advance(0.3)
    await side.call(charges, 50)
    failed = call()
    failed.grant, failed.outcome = grants[-1], Outcome.UPSTREAM_ERROR
    side.admitters[0].settle(failed)
    counters = await side.settled()
    assert sorted(counters.values()) == [49, 50]
    assert counters[grants[0].periods.counters[0]] == 49


async def test_a_calendar_that_changes_counts_at_once_though_leases_are_held(side: Side) -> None:
    charges = plan(quota(1_000_000), mode=AdmissionMode.AUTO)
    await side.call(charges, 500)
    moved = await side.call(charges, 2000, Calendar(date(2026, 2, 15), "America/New_York"))
    late = [one for one in moved if one.periods.start_us < BOUNDARY_US - 14 * 86_400_000_000]
    assert len(late) <= 2 * 256, "no more than what was bought before"
    assert await side.settled() == side.passed

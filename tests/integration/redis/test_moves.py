"""An account goes over to other quota counters while workers that have not heard of it go on charging."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from gateway.admission.admitter import Admitter
from gateway.admission.counters import MOVED, Move, QuotaCounters, QuotaPeriod, counter_key
from gateway.admission.onlooker import Onlooker
from gateway.admission.period import period_at
from gateway.admission.redis_store import RedisStore
from gateway.admission.trust import MARK
from gateway.clock import SystemClock
from gateway.errors import QuotaExceeded
from gateway.model.exchange import Exchange
from gateway.model.periods import Period
from gateway.model.policies import AdmissionMode, ChargePlan
from gateway.model.principal import Mode, Principal
from gateway.outcomes import Outcome
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.plans import call, plan, quota

AMOUNT = 10
CALLER = Principal(7, "acct_7", 1, "key_1", "team", Mode.LIVE, b"")
NOTHING: dict[QuotaPeriod, int] = {}


def charging(*pers: Period, mode: AdmissionMode = AdmissionMode.EXACT) -> ChargePlan:
    return plan(*(quota(AMOUNT, per=per) for per in pers), mode=mode)


class Side:
    """A worker, which calls by whatever plan it is told, and who changes the account."""

    def __init__(self, worker: TickRedis, client: redis.asyncio.Redis, tasks: Tasks, now_us: int) -> None:
        self.tick, self.client, self.counters = worker, client, QuotaCounters(client)
        self.store = RedisStore(worker, SystemClock())
        self.admitter = Admitter(self.store, Slots.in_memory(), SystemClock(), tasks, "a")
        self.now_us = now_us

    def of(self, per: Period) -> QuotaPeriod:
        return QuotaPeriod(7, Mode.LIVE, "api_calls", per, period_at(per, self.now_us))

    async def call(self, charges: ChargePlan, times: int) -> list[Exchange]:
        """Those that passed."""
        passed = []
        for _ in range(times):
            exchange = call()
            try:
                exchange.grant = await self.admitter.admit(CALLER, charges, exchange)
            except QuotaExceeded:
                continue
            passed.append(exchange)
        return passed

    async def says(self, *pers: Period) -> list[int | None]:
        found = await self.counters.counted([self.of(per) for per in pers])
        return [found.get(self.of(per)) for per in pers]

    async def move(
        self, left: Period, taken: Period, kept: dict[QuotaPeriod, int] | None = None, booked: int = 0
    ) -> None:
        await self.counters.move(Move({self.of(left): booked}, kept or NOTHING, {self.of(taken): booked}))

    async def settle(self, exchange: Exchange) -> None:
        """The call has ended; unless it says otherwise, its upstream failed."""
        exchange.outcome = exchange.outcome or Outcome.UPSTREAM_ERROR
        self.admitter.settle(exchange)
        self.admitter.upkeep()
        await self.tick.call(("PING",))

    async def told_to_follow(self, per: Period) -> bool:
        return bool(await self.client.exists(counter_key(self.of(per)).replace("}:q:", "}:f:")))


@pytest.fixture
async def side(redis_url: str) -> AsyncIterator[Side]:
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.set(MARK, "whatever it is called")
    tasks = Tasks()
    worker = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    worker.start()
    assert await worker.wait_until_up()
    one = Side(worker, client, tasks, await QuotaCounters(client).now_us())
    yield one
    await one.admitter.close()
    await worker.close()
    await tasks.close()
    await client.aclose()


MONTHLY, WEEKLY, DAILY = charging(Period.MONTH), charging(Period.WEEK), charging(Period.DAY)


@pytest.mark.parametrize("mode", list(AdmissionMode))
async def test_charges_of_who_has_not_heard_of_it_count_where_the_account_went(
    side: Side, mode: AdmissionMode
) -> None:
    stale = charging(Period.MONTH, mode=mode)
    await side.call(stale, 3)
    await side.move(Period.MONTH, Period.WEEK)
    assert await side.says(Period.MONTH, Period.WEEK) == [3, 3]
    passed = await side.call(stale, 2) + await side.call(WEEKLY, 2)
    assert len(passed) == 4
    assert await side.says(Period.WEEK) == [7]
    assert len(await side.call(WEEKLY, AMOUNT)) == AMOUNT - 7


async def test_who_has_not_heard_of_it_gives_no_more_than_the_old_amount(side: Side) -> None:
    await side.call(MONTHLY, 3)
    await side.move(Period.MONTH, Period.WEEK)
    assert len(await side.call(MONTHLY, 2 * AMOUNT)) == AMOUNT - 3
    assert not await side.call(WEEKLY, 1)


async def test_nothing_was_used_before(side: Side) -> None:
    """Both counters are made, so that what comes late finds where to go."""
    await side.move(Period.MONTH, Period.WEEK)
    assert await side.says(Period.MONTH, Period.WEEK) == [0, 0]
    assert len(await side.call(MONTHLY, 4)) == 4
    assert await side.says(Period.MONTH, Period.WEEK) == [4, 4]
    for per in (Period.MONTH, Period.WEEK):
        assert await side.client.pttl(counter_key(side.of(per))) > 0, "it ends after its period"


async def test_there_and_back_while_both_plans_are_called_by(side: Side) -> None:
    used = 0
    for left, taken in ((Period.MONTH, Period.WEEK), (Period.WEEK, Period.MONTH)) * 2:
        used += len(await side.call(MONTHLY, 1)) + len(await side.call(WEEKLY, 1)) * (used > 0)
        await side.move(left, taken)
        assert await side.says(taken) == [used]
        assert not await side.told_to_follow(taken)
    assert await side.says(Period.MONTH) == [used]


async def test_by_way_of_a_third(side: Side) -> None:
    await side.call(MONTHLY, 1)
    await side.move(Period.MONTH, Period.WEEK)
    await side.move(Period.WEEK, Period.DAY)
    await side.call(MONTHLY, 1)
    await side.call(WEEKLY, 1)
    assert await side.says(Period.MONTH, Period.WEEK, Period.DAY) == [2, 3, 3]


async def test_what_is_booked_and_what_is_not_yet(side: Side) -> None:
    await side.call(MONTHLY, 8)
    await side.move(Period.MONTH, Period.WEEK, booked=5)
    assert await side.says(Period.WEEK) == [8]


async def test_a_counter_that_stays_is_left_alone_and_tells_what_is_not_booked(side: Side) -> None:
    await side.call(charging(Period.MONTH, Period.DAY), 4)
    await side.move(Period.MONTH, Period.WEEK, {side.of(Period.DAY): 1}, booked=2)
    assert await side.says(Period.MONTH, Period.WEEK, Period.DAY) == [4, 5, 4]


async def test_other_meters_do_not_follow(side: Side) -> None:
    await side.call(MONTHLY, 2)
    pages = side.of(Period.WEEK)._replace(meter="pages")
    await side.counters.move(Move({side.of(Period.MONTH): 0}, NOTHING, {pages: 0}))
    await side.call(MONTHLY, 2)
    assert await side.counters.counted([pages]) == {pages: 0}
    assert not await side.told_to_follow(Period.MONTH)


BOTH = charging(Period.MONTH, Period.DAY)


async def test_a_call_with_two_quotas_counts_once_where_both_went(side: Side) -> None:
    """The months and days of another calendar follow both the old month and the old day."""
    await side.call(BOTH, 2)
    month, day, week, year = map(side.of, (Period.MONTH, Period.DAY, Period.WEEK, Period.YEAR))
    await side.counters.move(Move({month: 0, day: 0}, NOTHING, {week: 0, year: 0}))
    failed = (await side.call(BOTH, 3))[0]
    assert await side.counters.counted([month, day, week, year]) == dict.fromkeys((month, day, week, year), 5)
    await side.settle(failed)
    assert await side.counters.counted([month, day, week, year]) == dict.fromkeys((month, day, week, year), 4)


async def test_a_call_that_pays_both_itself_pays_once(side: Side) -> None:
    """The change was rolled back, or policies brought back the quota that was left."""
    await side.call(MONTHLY, 1)
    await side.move(Period.MONTH, Period.WEEK)
    failed = (await side.call(charging(Period.MONTH, Period.WEEK), 3))[0]
    assert await side.says(Period.MONTH, Period.WEEK) == [4, 4]
    await side.settle(failed)
    assert await side.says(Period.MONTH, Period.WEEK) == [3, 3]


async def test_a_call_that_turns_out_dearer_is_dearer_for_both(side: Side) -> None:
    dear = (await side.call(MONTHLY, 3))[0]
    await side.move(Period.MONTH, Period.WEEK)
    dear.outcome, dear.due = Outcome.SERVED, {"api_calls": 5}
    await side.settle(dear)
    assert await side.says(Period.MONTH, Period.WEEK) == [7, 7]


async def test_what_comes_back_comes_back_to_both(side: Side) -> None:
    failed = (await side.call(MONTHLY, 3))[0]
    await side.move(Period.MONTH, Period.WEEK)
    await side.settle(failed)
    assert await side.says(Period.MONTH, Period.WEEK) == [2, 2]
    for _ in range(5):  # more than there is
        await side.settle(failed)
    assert await side.says(Period.MONTH, Period.WEEK) == [0, 0]
    await side.call(MONTHLY, 1)
    assert await side.says(Period.MONTH, Period.WEEK) == [1, 1]


async def test_what_is_posted_late_counts_for_both(side: Side) -> None:
    await side.call(MONTHLY, 1)
    await side.move(Period.MONTH, Period.WEEK)
    await side.counters.add({side.of(Period.MONTH): 4}, side.now_us)
    assert await side.says(Period.MONTH, Period.WEEK) == [5, 5]
    await side.counters.add({side.of(Period.MONTH): -2}, side.now_us)
    assert await side.says(Period.MONTH, Period.WEEK) == [3, 3]


async def test_what_is_posted_to_two_quotas_counts_once_where_both_went(side: Side) -> None:
    await side.call(charging(Period.MONTH, Period.DAY), 1)
    left = {side.of(Period.MONTH): 0, side.of(Period.DAY): 0}
    await side.counters.move(Move(left, NOTHING, {side.of(Period.WEEK): 0}))
    for count, said in ((4, 5), (-2, 3)):
        await side.counters.add(dict.fromkeys(left, count), side.now_us)
        assert await side.says(Period.MONTH, Period.DAY, Period.WEEK) == [said] * 3


async def test_what_is_posted_to_both_ends_of_a_move_counts_once(side: Side) -> None:
    await side.call(MONTHLY, 1)
    await side.move(Period.MONTH, Period.WEEK)
    await side.counters.add({side.of(Period.MONTH): 4, side.of(Period.WEEK): 4}, side.now_us)
    assert await side.says(Period.MONTH, Period.WEEK) == [5, 5]


async def test_a_follower_that_is_no_number_breaks_nothing_off(side: Side) -> None:
    await side.move(Period.MONTH, Period.WEEK)
    await side.client.set(counter_key(side.of(Period.WEEK)), "nonsense")
    assert len(await side.call(MONTHLY, 2)) == 2
    assert await side.says(Period.MONTH, Period.WEEK) == [2, None]


async def test_postings_do_not_make_a_counter_one_that_was_left(side: Side) -> None:
    await side.call(MONTHLY, 1)
    for _ in range(2):
        await side.counters.add({side.of(Period.MONTH): MOVED - 2}, side.now_us)
    assert await side.says(Period.MONTH) == [MOVED - 1]


async def test_who_looks_sees_what_is_used_and_charges_nobody(side: Side) -> None:
    await side.call(MONTHLY, 3)
    await side.move(Period.MONTH, Period.WEEK)
    onlooker = Onlooker(RedisStore(side.tick, SystemClock(), looks_only=True))
    await onlooker.admit(CALLER, MONTHLY, call())
    assert onlooker.seen is not None
    assert (onlooker.seen.present.left, onlooker.seen.decision.left) == ((AMOUNT - 3,), (AMOUNT - 4,))
    assert await side.says(Period.MONTH, Period.WEEK) == [3, 3]


async def test_a_counter_that_was_left_is_compared_and_set_right_like_any(side: Side) -> None:
    await side.call(MONTHLY, 3)
    await side.move(Period.MONTH, Period.WEEK)
    left = side.of(Period.MONTH)
    assert {one: units async for one, units in side.counters.read()}[left] == 3
    assert not await side.counters.set_right(left, 2, lower_from=4)
    assert await side.counters.set_right(left, 2, lower_from=3)
    assert await side.counters.set_right(left, 4, lower_from=None)
    await side.counters.add({left: 2}, side.now_us)
    await side.counters.begin_rebuild("token")
    assert await side.counters.raise_all("token", [(left, 7)])
    assert await side.says(Period.MONTH) == [7]
    await side.call(MONTHLY, 1)
    assert await side.says(Period.MONTH, Period.WEEK) == [8, 6]


async def test_where_nobody_vouches_none_is_made(side: Side) -> None:
    """The rebuild that is to come makes them."""
    await side.client.delete(MARK)
    await side.move(Period.MONTH, Period.WEEK, booked=3)
    assert await side.says(Period.MONTH, Period.WEEK) == [None, None]
    assert not await side.told_to_follow(Period.MONTH)

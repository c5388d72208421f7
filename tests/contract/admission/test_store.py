"""What every store promises: memory and Redis, the same suite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.admission.charges import Charges
from gateway.admission.cluster_counters import events_of
from gateway.admission.cluster_store import ClusterStore
from gateway.admission.crossings import EVENTS, read_crossing
from gateway.admission.memory_store import MemoryStore
from gateway.admission.redis_store import RedisStore
from gateway.admission.refusal import units_beyond
from gateway.admission.store import EXACT, Ask, Decision, Status, Store
from gateway.admission.token_bucket import HOLD_MS, LEASE_MS
from gateway.clock import ManualClock
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan
from gateway.storage.hash_slots import slot_of
from tests.unit.admission.plans import limit, plan, quota

TAG = "7l"
BIG = limit(6000, burst=1600, period_ms=60_000)  # 100 a second
MUCH = quota(1_000_000)


class Caller:
    """One account that calls, whatever keeps its counters."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def charges(self, charges: ChargePlan) -> Charges:
        return Charges(charges, self.store.now_ms())

    async def call(self, charges: ChargePlan, ask: Ask = EXACT, tag: str = TAG) -> Decision:
        return await self.store.decide(tag, self.charges(charges), ask)

    async def left(self, charges: ChargePlan) -> tuple[int, ...]:
        return (await self.call(charges, Ask(calls=0))).left


ReachedBy = Callable[[], Awaitable[list[tuple[int, int]]]]
"""Percents and units used of the thresholds that were told."""


@pytest.fixture
def reached(store: Store) -> ReachedBy:
    async def look() -> list[tuple[int, int]]:
        if isinstance(store, MemoryStore):
            return sorted((one.percent, told.used) for one, told in store.reached.items())
        assert isinstance(store, RedisStore)
        events = events_of(slot_of(TAG)) if isinstance(store, ClusterStore) else EVENTS
        flat = [text.decode() for text in await store._redis.call(("HGETALL", events))]
        read = [read_crossing(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
        return sorted((one.percent, one.used) for one in read if one is not None)

    return look


@pytest.fixture
def caller(store: Store) -> Caller:
    return Caller(store)


async def test_a_bucket_admits_its_burst_and_then_its_rate(caller: Caller, clock: ManualClock) -> None:
    charges = plan(limit(60, burst=3))
    assert [(await caller.call(charges)).left for _ in range(3)] == [(2,), (1,), (0,)]
    refused = await caller.call(charges)
    assert (refused.status, refused.wait_ms) == (Status.REFUSED, (1000,))
    clock.advance(0.999)
    assert (await caller.call(charges)).status is Status.REFUSED
    clock.advance(0.001)
    assert (await caller.call(charges)).status is Status.ADMITTED


async def test_a_quota_admits_its_amount_until_the_period_ends(caller: Caller, clock: ManualClock) -> None:
    charges = plan(quota(2, per=Period.HOUR))
    assert [(await caller.call(charges)).left for _ in range(2)] == [(1,), (0,)]
    refused = await caller.call(charges)
    hour_ends_ms = caller.charges(charges).ends_ms
    assert refused.wait_ms == (hour_ends_ms - refused.now_ms,)
    clock.advance(refused.wait_ms[0] / 1000 - 0.001)
    assert (await caller.call(charges)).status is Status.REFUSED
    clock.advance(0.001)
    assert (await caller.call(charges)).left == (1,)


async def test_all_charges_are_paid_or_none(caller: Caller) -> None:
    cheap, dear = quota(10, meter="api_calls"), quota(5, meter="tokens")
    charges = plan(limit(60, burst=9), cheap, (dear, 3))
    assert (await caller.call(charges)).left == (8, 9, 2)
    refused = await caller.call(charges)
    assert refused.status is Status.REFUSED
    assert [wait > 0 for wait in refused.wait_ms] == [False, False, True]
    assert await caller.left(charges) == (8, 9, 2)


async def test_a_refusal_names_every_charge_that_refuses(caller: Caller) -> None:
    charges = plan(limit(60, burst=1), quota(1), quota(5, meter="tokens"))
    await caller.call(charges)
    refused = await caller.call(charges)
    assert [wait > 0 for wait in refused.wait_ms] == [True, True, False]
    assert refused.left == (0, 0, 4)


async def test_hour_day_and_month_of_one_meter_are_counted_apart(caller: Caller) -> None:
    charges = plan(*(quota(100, per=per) for per in (Period.HOUR, Period.DAY, Period.MONTH)))
    assert (await caller.call(charges)).left == (99, 99, 99)


async def test_a_free_quota_refuses_nobody(caller: Caller) -> None:
    charges = plan((quota(1), 0))
    for _ in range(3):
        assert (await caller.call(charges)).status is Status.ADMITTED


async def test_accounts_and_modes_do_not_share_counters(caller: Caller) -> None:
    charges = plan(limit(60, burst=1), quota(1))
    for tag in ("7l", "7t", "8l"):
        assert (await caller.call(charges, tag=tag)).status is Status.ADMITTED


async def test_a_lower_tier_in_the_same_period_keeps_what_is_used(caller: Caller) -> None:
    for _ in range(5):
        await caller.call(plan(quota(10)))
    lowered = await caller.call(plan(quota(3)))
    assert (lowered.status, lowered.left) == (Status.REFUSED, (-2,))
    assert (await caller.call(plan(quota(20)))).left == (14,)


async def test_a_period_that_is_not_on_charges_nothing(caller: Caller, clock: ManualClock) -> None:
    charges = plan(limit(60, burst=5), quota(10, per=Period.HOUR))
    old = caller.charges(charges)
    clock.advance(3600)
    assert (await caller.store.decide(TAG, old, EXACT)).status is Status.OTHER_PERIOD
    assert await caller.left(charges) == (5, 10)


async def test_calls_in_advance_are_taken_out_of_everything(caller: Caller) -> None:
    charges = plan(BIG, MUCH)
    bought = await caller.call(charges, Ask("w", 1, 50, 0))
    assert (bought.status, bought.extra, bought.left) == (Status.ADMITTED, 50, (1549, 999_949))


@pytest.mark.parametrize(
    ("case", "charges", "extra"),
    [
        ("a sixteenth of the tokens", plan(limit(60, burst=800)), 49),
        ("a sixty-fourth of the quota", plan(quota(6401)), 100),
        ("the smaller of both", plan(limit(60, burst=800), quota(1_000_000)), 49),
        ("a scarce quota gives nothing", plan(limit(60, burst=800), quota(4096)), 0),
        ("never more than wanted", plan(quota(10**9)), 256),
        ("dear calls are fewer", plan((quota(6410), 10)), 10),
        ("free calls are as many as wanted", plan((quota(1), 0)), 256),
    ],
)
async def test_slices_follow_the_rule(caller: Caller, case: str, charges: ChargePlan, extra: int) -> None:
    assert (await caller.call(charges, Ask("w", 1, 256, 0))).extra == extra, case


async def test_buying_ahead_alone_is_never_refused(caller: Caller) -> None:
    charges = plan(limit(60, burst=1), quota(1))
    await caller.call(charges)
    ahead = await caller.call(charges, Ask("w", 0, 5, 0))
    assert (ahead.status, ahead.extra) == (Status.ADMITTED, 0)


async def test_a_holder_s_tokens_are_not_refilled_while_he_may_spend_them(
    caller: Caller, clock: ManualClock
) -> None:
    charges = plan(BIG)
    await caller.call(charges, Ask("w", 0, 100, 0))
    clock.advance((HOLD_MS - 1) / 1000)
    assert await caller.left(charges) == (1500,)


async def test_a_killed_holder_s_tokens_come_back_by_themselves(caller: Caller, clock: ManualClock) -> None:
    charges = plan(BIG)
    await caller.call(charges, Ask("w", 0, 100, 0))
    clock.advance(HOLD_MS / 1000)
    assert await caller.left(charges) == (1500,)
    clock.advance(1)
    assert await caller.left(charges) == (1600,)


async def test_unused_calls_come_back_at_once(caller: Caller, clock: ManualClock) -> None:
    charges = plan(BIG, MUCH)
    await caller.call(charges, Ask("w", 1, 96, 0))
    clock.advance(LEASE_MS / 1000)
    await caller.store.give_back(TAG, caller.charges(charges), "w", 40)
    assert await caller.left(charges) == (1544, 999_943)


async def test_tokens_that_expired_do_not_come_back_but_units_do(caller: Caller, clock: ManualClock) -> None:
    charges = plan(BIG, MUCH)
    await caller.call(charges, Ask("w", 0, 96, 0))
    clock.advance(HOLD_MS / 1000)
    await caller.store.give_back(TAG, caller.charges(charges), "w", 96)
    assert await caller.left(charges) == (1504, 1_000_000)


async def test_nobody_gives_back_what_another_holds(caller: Caller) -> None:
    charges = plan(BIG)
    await caller.call(charges, Ask("w", 0, 96, 0))
    await caller.store.give_back(TAG, caller.charges(charges), "x", 96)
    assert await caller.left(charges) == (1504,)


async def test_a_second_purchase_replaces_what_the_holder_holds(caller: Caller, clock: ManualClock) -> None:
    charges = plan(BIG)
    await caller.call(charges, Ask("w", 0, 96, 0))
    clock.advance(0.4)
    await caller.call(charges, Ask("w", 0, 10, 30))  # 66 of them are spent
    clock.advance(0.7)
    assert await caller.left(charges) == (1560,), "room for the 40 still held, the rest filled up"


async def test_a_refund_goes_to_the_period_it_was_charged_in(caller: Caller, clock: ManualClock) -> None:
    charges = plan(quota(10, per=Period.HOUR))
    await caller.call(charges)
    charged = caller.charges(charges).quotas[0].key
    clock.advance(3600)
    await caller.call(charges)
    await caller.store.refund(TAG, {charged: 1})
    assert await caller.left(charges) == (9,)
    await caller.store.refund(TAG, {caller.charges(charges).quotas[0].key: 1})
    assert await caller.left(charges) == (10,)


async def test_a_refund_never_adds_to_a_quota(caller: Caller) -> None:
    charges = plan(quota(10))
    key = caller.charges(charges).quotas[0].key
    await caller.store.refund(TAG, {key: 5})
    assert await caller.left(charges) == (10,)
    await caller.call(charges)
    await caller.store.refund(TAG, {key: 5})
    assert await caller.left(charges) == (10,)


async def test_a_changed_rate_keeps_the_tokens(caller: Caller, clock: ManualClock) -> None:
    await caller.call(plan(limit(60, burst=20)))
    assert await caller.left(plan(limit(7, burst=20, period_ms=1000))) == (19,)
    await caller.call(plan(limit(7, burst=20, period_ms=1000)))
    clock.advance(1)
    assert await caller.left(plan(limit(60, burst=20))) == (19,)
    assert await caller.left(plan(limit(60, burst=4))) == (4,)


async def test_the_largest_numbers_stay_exact(caller: Caller) -> None:
    most = 2**53 - 1
    charges = plan(limit(999_999_937, burst=10**9, period_ms=86_400_000), quota(most))
    assert (await caller.call(charges)).left == (10**9 - 1, most - 1)
    assert (await caller.call(charges)).left == (10**9 - 2, most - 2)


async def test_exactly_as_many_as_there_are_pass_at_once(caller: Caller) -> None:
    charges = plan(limit(60, burst=50), quota(40))
    answers = await asyncio.gather(*(caller.call(charges) for _ in range(150)))
    assert sum(answer.status is Status.ADMITTED for answer in answers) == 40
    assert await caller.left(charges) == (10, 0)


SHARED = limit(60, burst=3, name="shared", scope=("route",))
OF_ROUTE = ("b:burst", "{route=all,l}:b:shared:1/1000/3")


async def test_accounts_share_a_counter_with_a_tag_of_its_own(caller: Caller, clock: ManualClock) -> None:
    charges = caller.charges(plan(limit(60, burst=9), SHARED)).paid_into(OF_ROUTE)
    lefts = [(await caller.store.decide(tag, charges, EXACT)).left for tag in ("7l", "8l", "7l")]
    assert lefts == [(8, 2), (8, 1), (7, 0)]
    refused = await caller.store.decide("9l", charges, EXACT)
    assert (refused.status, refused.left, refused.wait_ms) == (Status.REFUSED, (9, 0), (0, 1000))
    assert (await caller.store.decide("9l", charges, Ask(calls=0))).left == (9, 0), "nothing was charged"


async def test_buckets_of_keys_lie_beside_the_account_s(caller: Caller) -> None:
    pool = plan(limit(60, burst=5), limit(60, burst=2, name="key", scope=("account", "key")))
    keys = [caller.charges(pool).paid_into(("b:burst", f"b:key:key={number}")) for number in (1, 2)]
    assert [(await caller.store.decide(TAG, charges, EXACT)).left for charges in keys * 2] == [
        (4, 1),
        (3, 1),
        (2, 0),
        (1, 0),
    ]
    assert (await caller.store.decide(TAG, keys[0], EXACT)).wait_ms == (0, 1000)


async def test_dear_calls_take_what_they_cost(caller: Caller) -> None:
    charges = plan(limit(60, burst=10), cost=4)
    assert [(await caller.call(charges)).left for _ in range(2)] == [(6,), (2,)]
    assert (await caller.call(charges)).wait_ms == (2000,)


TRIED = limit(60, burst=2, name="tried", shadow=True)


async def test_of_calls_alike_as_many_are_charged_as_can_pay(caller: Caller) -> None:
    charges = plan(limit(60, burst=7), (quota(9), 2), cost=1)
    first = await caller.call(charges, Ask(calls=3))
    assert (first.status, first.calls, first.left, first.wait_ms) == (Status.ADMITTED, 3, (4, 3), (0, 0))
    second = await caller.call(charges, Ask(calls=30))
    assert (second.status, second.calls, second.left) == (Status.ADMITTED, 1, (3, 1))
    refused = await caller.call(charges, Ask(calls=2))
    assert (refused.status, refused.calls, refused.left) == (Status.REFUSED, 0, (3, 1))
    assert [wait > 0 for wait in refused.wait_ms] == [False, True], "as one call has to wait"


async def test_calls_alike_are_charged_in_one_way(caller: Caller) -> None:
    """A shadow pays for all of them, or for none."""
    charges = plan(limit(60, burst=9), TRIED, quota(4, soft=True))
    answers = [await caller.call(charges, Ask(calls=9 - made)) for made in (0, 2, 4)]
    assert [one.calls for one in answers] == [2, 2, 5]
    assert [tuple(wait > 0 for wait in one.wait_ms) for one in answers] == [
        (False, False, False),
        (False, True, False),
        (False, True, True),
    ]
    assert await caller.left(charges) == (0, 0, -5)


async def test_of_the_most_calls_and_the_largest_numbers_none_is_too_many(caller: Caller) -> None:
    most = 10**15 - 1
    charges = plan((quota(most), 3))
    answer = await caller.call(charges, Ask(calls=most))
    assert (answer.calls, answer.left) == (most // 3, (most % 3,))


async def test_a_shadow_bucket_refuses_nobody_and_tells_when_it_would_have(
    caller: Caller, clock: ManualClock
) -> None:
    charges = plan(limit(60, burst=9), TRIED)
    calls = [await caller.call(charges) for _ in range(4)]
    assert {call.status for call in calls} == {Status.ADMITTED}
    assert [call.wait_ms for call in calls] == [(0, 0), (0, 0), (0, 1000), (0, 1000)]
    assert [call.left for call in calls] == [(8, 1), (7, 0), (6, 0), (5, 0)]
    clock.advance(1)
    assert (await caller.call(charges)).wait_ms == (0, 0), "what it did not pay for it does not owe"


async def test_a_shadow_quota_counts_beyond_its_amount(caller: Caller) -> None:
    charges = plan((quota(5, shadow=True), 2))
    calls = [await caller.call(charges) for _ in range(4)]
    assert {call.status for call in calls} == {Status.ADMITTED}
    assert [call.left for call in calls] == [(3,), (1,), (-1,), (-3,)]
    assert [call.wait_ms[0] > 0 for call in calls] == [False, False, True, True]
    assert (await caller.call(plan(quota(8)))).status is Status.REFUSED, "enforced, it knows what was used"


async def test_what_is_refused_anyway_is_charged_to_no_shadow_and_says_nothing_of_one(caller: Caller) -> None:
    charges = plan(limit(60, burst=2), TRIED, quota(1, shadow=True))
    await caller.call(charges)
    await caller.call(charges)
    refused = await caller.call(charges)
    assert (refused.status, refused.wait_ms) == (Status.REFUSED, (1000, 0, 0))
    assert refused.left == (0, 0, -1)


async def test_a_short_shadow_makes_calls_exact(caller: Caller) -> None:
    charges = plan(BIG, limit(60, burst=64, name="tried", shadow=True))
    ahead = [await caller.call(charges, Ask("w", 1, 50, 0)) for _ in range(40)]
    assert sum(call.extra for call in ahead[:5]) > 0
    assert ahead[-1].extra == 0


async def test_what_was_charged_is_set_right_either_way(caller: Caller, clock: ManualClock) -> None:
    bucket, counter = limit(60, burst=100, meter="tokens"), quota(1000, meter="tokens")
    charges = plan(bucket, (counter, 10), metered={"tokens": 10})
    made = caller.charges(charges)
    flow, (bucket_key, counter_key) = made.flows[0], made.keys
    await caller.call(charges)
    await caller.store.refund(TAG, {counter_key: 4}, {(bucket_key, flow): 4})
    assert await caller.left(charges) == (94, 994)
    await caller.store.refund(TAG, {counter_key: -1200}, {(bucket_key, flow): -130})
    assert await caller.left(charges) == (-36, -206), "below empty, and beyond the amount"
    refused = await caller.call(charges)
    assert refused.status is Status.REFUSED
    assert refused.wait_ms[0] == 46_000
    await caller.store.refund(TAG, {counter_key: 5000}, {(bucket_key, flow): -5000})
    assert await caller.left(charges) == (-100, 1000), "a burst below empty at most, a counter never below 0"
    clock.advance(100)
    assert (await caller.left(charges))[0] == 0
    await caller.store.refund(TAG, {}, {(bucket_key, flow): 5000})
    assert (await caller.left(charges))[0] == 100


async def test_a_counter_stops_before_it_could_be_taken_for_one_that_was_left(caller: Caller) -> None:
    charges = plan((quota(1000, meter="tokens"), 10))
    (key,) = caller.charges(charges).keys
    await caller.call(charges)
    for _ in range(3):
        await caller.store.refund(TAG, {key: -(1 << 52)})
    assert await caller.left(charges) == (1000 - ((1 << 52) - 1),)


async def test_a_bucket_below_empty_is_not_forgotten(caller: Caller, clock: ManualClock) -> None:
    charges = plan(limit(10, burst=10, period_ms=1000, meter="tokens"), metered={"tokens": 1})
    made = caller.charges(charges)
    await caller.call(charges)
    await caller.store.refund(TAG, {}, {(made.keys[0], made.flows[0]): -1000})
    clock.advance(1.5)
    assert await caller.left(charges) == (5,)


async def test_what_is_gone_is_not_charged_again(caller: Caller) -> None:
    charges = plan((quota(1000, meter="tokens"), 10))
    (key,) = caller.charges(charges).keys
    await caller.store.refund(TAG, {key: -7})
    assert await caller.left(charges) == (1000,)


async def test_a_soft_quota_refuses_nobody_and_tells_what_is_beyond(caller: Caller) -> None:
    charges = plan(limit(60, burst=9), (quota(5, soft=True), 2))
    calls = [await caller.call(charges) for _ in range(4)]
    assert {call.status for call in calls} == {Status.ADMITTED}
    assert [call.left[1] for call in calls] == [3, 1, -1, -3]
    assert [call.wait_ms[1] > 0 for call in calls] == [False, False, True, True]
    beyond = [units_beyond(caller.charges(charges), call) for call in calls]
    assert beyond == [{}, {}, {"api_calls": 1}, {"api_calls": 2}]


async def test_beyond_a_soft_quota_nothing_is_bought_in_advance(caller: Caller) -> None:
    charges = plan(quota(5, soft=True))
    calls = [await caller.call(charges, Ask("w", 1, 64, 0, scarce=True)) for _ in range(9)]
    assert {call.extra for call in calls} == {0}


async def test_a_quota_that_is_raised_has_more_and_one_that_is_lowered_keeps_what_is_used(
    caller: Caller,
) -> None:
    for _ in range(10):
        await caller.call(plan(quota(10)))
    assert (await caller.call(plan(quota(10)))).status is Status.REFUSED
    assert (await caller.call(plan(quota(100)))).left == (89,)
    assert (await caller.call(plan(quota(5)))).left == (-6,)


async def test_each_threshold_is_told_once(caller: Caller, reached: ReachedBy) -> None:
    charges = plan(quota(10))
    for used in range(1, 13):
        await caller.call(charges)
        assert await reached() == [(80, 8)] * (used >= 8) + [(100, 10)] * (used >= 10), used
    await caller.store.refund(TAG, {caller.charges(charges).quotas[0].key: 5})
    for _ in range(7):
        await caller.call(charges)
    assert await reached() == [(80, 8), (100, 10)], "what comes back is not told again"


async def test_thresholds_are_told_again_in_the_next_period(
    caller: Caller, clock: ManualClock, reached: ReachedBy
) -> None:
    charges = plan(quota(1, per=Period.HOUR))
    await caller.call(charges)
    clock.advance(3600)
    await caller.call(charges)
    assert await reached() == [(80, 1), (80, 1), (100, 1), (100, 1)]


@pytest.mark.parametrize(
    ("case", "charges", "ask", "told"),
    [
        ("chosen ones", plan(quota(10, notify=(10, 20, 50))), EXACT, [(10, 1)]),
        ("none", plan(quota(1, notify=())), EXACT, []),
        ("several at once", plan((quota(10), 10)), EXACT, [(80, 10), (100, 10)]),
        ("rounded up", plan((quota(9, notify=(81,)), 7)), EXACT, []),
        ("beyond a soft quota", plan((quota(10, soft=True, notify=(150,)), 15)), EXACT, [(150, 15)]),
        ("none of a shadow", plan((quota(10, shadow=True), 10)), EXACT, []),
        ("of a slice that is bought", plan(quota(64_000, notify=(1,))), Ask("w", 0, 700, 0), [(1, 700)]),
        ("nobody looks over one", plan(quota(1)), Ask(calls=0), []),
    ],
)
async def test_thresholds_are_those_of_the_policies(
    caller: Caller, reached: ReachedBy, case: str, charges: ChargePlan, ask: Ask, told: list[tuple[int, int]]
) -> None:
    await caller.call(charges, ask)
    assert await reached() == told, case


async def test_an_amount_that_is_changed_has_thresholds_of_its_own(
    caller: Caller, reached: ReachedBy
) -> None:
    for _ in range(8):
        await caller.call(plan(quota(10)))
    await caller.call(plan(quota(100)))
    assert await reached() == [(80, 8)]
    assert (await caller.call(plan(quota(5)))).status is Status.REFUSED
    assert await reached() == [(80, 8), (80, 9), (100, 9)], "with the first call, if it was lowered below"

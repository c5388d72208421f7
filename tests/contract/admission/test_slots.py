"""What every store promises about slots: memory and Redis, the same suite."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from gateway.admission.charges import Charges
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import Ask, Decision, Status, Store
from gateway.clock import ManualClock
from gateway.model.policies import ChargePlan
from tests.unit.admission.plans import at_once, limit, plan, quota

TAG = "7l"
TWO = plan(at_once(2))


class Caller:
    """One account whose calls hold slots; their names are numbers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._numbers = count(1)

    async def begin(self, charges: ChargePlan = TWO, tag: str = TAG) -> Decision:
        ask = Ask(slot=str(next(self._numbers)))
        return await self.store.decide(tag, Charges(charges, self.store.now_ms()), ask)

    async def end(self, *names: int, key: str = "c:builds") -> None:
        await self.store.release(TAG, {key: [str(name) for name in names]})

    async def renew(self, *names: int) -> None:
        await self.store.renew(TAG, {"c:builds": [str(name) for name in names]})

    async def in_use(self, charges: ChargePlan = TWO, tag: str = TAG) -> tuple[int, ...]:
        look = Ask(calls=0)
        return (await self.store.decide(tag, Charges(charges, self.store.now_ms()), look)).in_use


@pytest.fixture
def caller(store: Store) -> Caller:
    return Caller(store)


async def test_as_many_pass_as_there_are_slots(caller: Caller) -> None:
    answers = [await caller.begin() for _ in range(3)]
    assert [(one.status, one.in_use) for one in answers] == [
        (Status.ADMITTED, (1,)),
        (Status.ADMITTED, (2,)),
        (Status.REFUSED, (2,)),
    ]


async def test_of_many_at_once_exactly_as_many_pass(caller: Caller) -> None:
    answers = await asyncio.gather(*(caller.begin(plan(at_once(7))) for _ in range(50)))
    assert sum(one.status is Status.ADMITTED for one in answers) == 7


async def test_a_released_slot_is_free_at_once(caller: Caller) -> None:
    await caller.begin()
    await caller.begin()
    await caller.end(1)
    assert await caller.in_use() == (1,)
    assert (await caller.begin()).status is Status.ADMITTED


async def test_a_slot_that_nobody_renews_comes_back(caller: Caller, clock: ManualClock) -> None:
    await caller.begin()
    clock.advance((SLOT_MS - 1) / 1000)
    assert await caller.in_use() == (1,)
    clock.advance(0.001)
    assert await caller.in_use() == (0,)


async def test_a_renewed_slot_stays(caller: Caller, clock: ManualClock) -> None:
    await caller.begin()
    for _ in range(5):
        clock.advance(SLOT_MS / 2000)
        await caller.renew(1)
    assert await caller.in_use() == (1,)


async def test_a_late_release_frees_nobody_else_s_slot(caller: Caller, clock: ManualClock) -> None:
    one = plan(at_once(1))
    await caller.begin(one)
    clock.advance(SLOT_MS / 1000)
    assert (await caller.begin(one)).status is Status.ADMITTED
    await caller.end(1)
    await caller.end(1)
    assert await caller.in_use(one) == (1,)
    assert (await caller.begin(one)).status is Status.REFUSED


async def test_a_call_that_outlived_its_slot_is_counted_again_when_it_is_renewed(
    caller: Caller, clock: ManualClock
) -> None:
    await caller.begin()
    clock.advance(SLOT_MS / 1000)
    await caller.begin()
    await caller.begin()
    await caller.renew(1)
    assert await caller.in_use() == (3,)
    await caller.end(2)
    assert (await caller.begin()).status is Status.REFUSED, "two are under way"


async def test_a_refusal_takes_nothing(caller: Caller) -> None:
    charges = plan(limit(60, burst=9), quota(9), at_once(1), at_once(5, name="all"))
    assert (await caller.begin(charges)).left == (8, 8)
    refused = await caller.begin(charges)
    assert (refused.status, refused.left, refused.wait_ms) == (Status.REFUSED, (8, 8), (0, 0))
    assert refused.in_use == (1, 1)


async def test_an_empty_bucket_leaves_slots_alone(caller: Caller) -> None:
    charges = plan(limit(60, burst=1), at_once(5))
    await caller.begin(charges)
    refused = await caller.begin(charges)
    assert (refused.status, refused.wait_ms, refused.in_use) == (Status.REFUSED, (1000,), (1,))


async def test_accounts_do_not_share_slots(caller: Caller) -> None:
    one = plan(at_once(1))
    for tag in ("7l", "7t", "8l"):
        assert (await caller.begin(one, tag)).status is Status.ADMITTED


async def test_a_lower_tier_takes_no_slot_away(caller: Caller) -> None:
    for _ in range(3):
        await caller.begin(plan(at_once(3)))
    assert (await caller.begin(TWO)).in_use == (3,)
    await caller.end(1, 2)
    assert (await caller.begin(TWO)).status is Status.ADMITTED


async def test_slots_that_accounts_share_have_a_tag_of_their_own(caller: Caller) -> None:
    shared, key = plan(at_once(1, scope=("route",))), "{route=all,l}:c:builds:1"
    charges = Charges(shared, caller.store.now_ms()).paid_into((key,))
    assert (await caller.store.decide("7l", charges, Ask(slot="a"))).status is Status.ADMITTED
    assert (await caller.store.decide("8l", charges, Ask(slot="b"))).status is Status.REFUSED
    await caller.store.release("7l", {key: ["a"]})
    assert (await caller.store.decide("8l", charges, Ask(slot="c"))).status is Status.ADMITTED


async def test_a_clock_that_was_ahead_keeps_no_slot_for_long(caller: Caller, clock: ManualClock) -> None:
    clock.advance(3600)
    await caller.begin()
    clock.advance(-3600)
    assert await caller.in_use() == (1,)
    clock.advance(SLOT_MS / 1000)
    assert await caller.in_use() == (0,)

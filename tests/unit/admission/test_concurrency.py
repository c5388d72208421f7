"""Calls that need a slot, over a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.admission.admitter import Admitter
from gateway.admission.charges import Charges
from gateway.admission.held_slots import RENEW_AFTER_US
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import Ask
from gateway.admission.turns import MOST_WAITING
from gateway.clock import ManualClock
from gateway.errors import AdmissionUnavailable, ClientGone, ConcurrencyExceeded, QuotaExceeded, RateLimited
from gateway.model.exchange import Exchange
from gateway.model.policies import AdmissionMode, ChargePlan, OnFull, OnStoreLoss
from gateway.outcomes import Outcome
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.fakes import FakeStore
from tests.unit.admission.plans import UPGRADE_URL, at_once, call, limit, plan, quota

QUEUE = OnFull.QUEUE
ONE = plan(at_once(1))
IN_TURN = plan(at_once(1, on_full=QUEUE))


class Room:
    """Workers on one store, and calls that last until they are ended."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_784_000_000_000_000)
        self.tasks = Tasks()
        self.store = FakeStore(self.clock)
        self.slots = Slots.in_memory()
        self.admitter = self.worker()

    def worker(self, *, workers: int = 1) -> Admitter:
        return Admitter(self.store, self.slots, self.clock, self.tasks, "w", workers=workers)

    async def begin(
        self, charges: ChargePlan = ONE, *, account: int = 7, by: Admitter | None = None
    ) -> Exchange:
        return await self._admitted(call(account), charges, by or self.admitter)

    def ask(
        self, charges: ChargePlan = IN_TURN, *, account: int = 7, by: Admitter | None = None
    ) -> tuple[Exchange, asyncio.Task[Exchange]]:
        exchange = call(account)
        return exchange, asyncio.ensure_future(self._admitted(exchange, charges, by or self.admitter))

    async def _admitted(self, exchange: Exchange, charges: ChargePlan, by: Admitter) -> Exchange:
        assert exchange.principal is not None
        exchange.grant = await by.admit(exchange.principal, charges, exchange)
        return exchange

    def end(self, exchange: Exchange, *, by: Admitter | None = None) -> None:
        exchange.outcome = exchange.outcome or Outcome.SERVED
        (by or self.admitter).settle(exchange)

    async def waiting(self, number: int) -> None:
        await until(lambda: self.slots.get("concurrency_waiting") == number)

    def waits(self, result: str) -> int:
        return self.slots.get("concurrency_waits_total", result)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0)


def leave(exchange: Exchange) -> None:
    """As the caller's connection does when it is lost."""
    exchange.broken = ClientGone()
    assert exchange.uplink is not None
    exchange.uplink.cancel()
    exchange.uplink = None


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    one = Room()
    yield one
    await one.tasks.close()


async def test_one_at_a_time(room: Room) -> None:
    first = await room.begin()
    with pytest.raises(ConcurrencyExceeded) as refused:
        await room.begin()
    assert refused.value.outcome is Outcome.RATE_LIMITED
    assert refused.value.headers.endswith(b"Retry-After: 1\r\n")
    assert refused.value.detail == (
        "The limit `builds` of the tier `community` allows 1 call at once, and as many are under way. "
        f"Try again when one has ended. For more, upgrade at {UPGRADE_URL}"
    )
    assert refused.value.extensions == {
        "violated-policies": ["builds"],
        "limits": [{"policy": "builds", "limit": 1, "used": 1, "remaining": 0}],
        "tier": "community",
        "upgrade_url": UPGRADE_URL,
    }
    assert room.slots.get("concurrency_refused_total") == 1
    room.end(first)
    await asyncio.sleep(0)
    await room.begin()


@pytest.mark.parametrize("outcome", [Outcome.SERVED, Outcome.CLIENT_ABORTED, Outcome.UPSTREAM_ERROR])
async def test_a_slot_comes_back_however_its_call_ends(room: Room, outcome: Outcome) -> None:
    first = await room.begin()
    assert room.slots.get("concurrency_calls") == 1
    first.outcome = outcome
    room.end(first)
    room.admitter.settle(first)  # twice is as good as once
    await asyncio.sleep(0)
    assert room.slots.get("concurrency_calls") == 0
    await room.begin()


async def test_calls_that_end_in_one_tick_are_released_in_one_call(room: Room) -> None:
    calls = [await room.begin(plan(at_once(9))) for _ in range(5)]
    for one in calls:
        room.end(one)
    await asyncio.sleep(0)
    ((tag, names),) = room.store.released
    assert (tag, [len(each) for each in names.values()]) == ("7l", [5])


async def test_a_plan_with_slots_is_never_decided_from_a_lease(room: Room) -> None:
    charges = plan(limit(60_000, burst=1_000_000), at_once(1000), mode=AdmissionMode.AUTO)
    for _ in range(50):
        await room.begin(charges)
    assert room.slots.get("admission_leased_total") == 0


async def test_what_lasts_longer_is_named_first(room: Room) -> None:
    await room.begin(plan(quota(1), at_once(1)))
    with pytest.raises(QuotaExceeded) as refused:
        await room.begin(plan(quota(1), at_once(1)))
    assert refused.value.extensions["violated-policies"] == ["api_calls", "builds"]


async def test_who_came_first_goes_first(room: Room) -> None:
    held, queued = await room.begin(IN_TURN), []
    for number in range(5):
        queued.append(room.ask())
        await room.waiting(number + 1)
    for position, (exchange, task) in enumerate(queued):
        room.end(held)
        await task
        assert not any(other.done() for _, other in queued[position + 1 :])
        held = exchange
    assert room.waits("admitted") == 5
    assert held.uplink is None


async def test_nobody_overtakes_those_who_wait(room: Room) -> None:
    held = await room.begin(IN_TURN)
    _, first = room.ask()
    await room.waiting(1)
    asked = len(room.store.asks)
    _, second = room.ask()
    await room.waiting(2)
    assert len(room.store.asks) == asked, "who comes later does not ask"
    room.end(held)
    await first
    assert not second.done()
    second.cancel()


async def test_accounts_that_share_slots_take_turns(room: Room) -> None:
    shared = plan(at_once(1, on_full=QUEUE, scope=("ip",)))
    held, order = await room.begin(shared), []
    queued = {}
    for account in (1, 1, 1, 2):
        exchange, task = room.ask(shared, account=account)
        queued[task] = (account, exchange)
        await room.waiting(len(queued))
    while queued:
        room.end(held)
        done, _ = await asyncio.wait(queued, return_when=asyncio.FIRST_COMPLETED)
        (task,) = done
        account, held = queued.pop(task)
        order.append(account)
    assert order == [1, 2, 1, 1]


async def test_a_caller_who_leaves_leaves_the_queue_at_once(room: Room) -> None:
    held = await room.begin(IN_TURN)
    (gone, left), (_, stays) = room.ask(), room.ask()
    await room.waiting(2)
    leave(gone)
    with pytest.raises(ClientGone):
        await left
    assert (room.slots.get("concurrency_waiting"), room.waits("left")) == (1, 1)
    room.end(held)
    await stays


async def test_a_caller_who_leaves_while_it_is_his_turn_is_not_waited_for(room: Room) -> None:
    held = await room.begin(IN_TURN)
    gone, left = room.ask()
    await room.waiting(1)
    room.store.gate = gate = asyncio.get_running_loop().create_future()  # type: ignore[assignment]  # awaited alike
    asked = len(room.store.asks)
    await until(lambda: len(room.store.asks) > asked)
    leave(gone)
    gate.set_result(None)
    with pytest.raises(ClientGone):
        await left
    room.end(held)


async def test_who_waits_too_long_is_refused(room: Room) -> None:
    await room.begin(plan(at_once(1, on_full=QUEUE, wait_s=0.01)))
    _, late = room.ask(plan(at_once(1, on_full=QUEUE, wait_s=0.01)))
    with pytest.raises(ConcurrencyExceeded):
        await late
    assert room.waits("late") == 1
    assert room.slots.get("concurrency_waiting") == 0


async def test_a_queue_has_an_end(room: Room) -> None:
    held = await room.begin(IN_TURN)
    tasks = [room.ask()[1] for _ in range(MOST_WAITING)]
    await room.waiting(MOST_WAITING)
    with pytest.raises(ConcurrencyExceeded) as refused:
        await room.begin(IN_TURN)
    assert refused.value.extensions["limits"] == [{"policy": "builds", "limit": 1, "used": 1, "remaining": 0}]
    assert room.waits("full") == 1
    await room.begin(IN_TURN, account=8)
    for task in tasks:
        task.cancel()
    room.end(held)


async def test_slots_of_other_workers_are_looked_for(room: Room) -> None:
    other = room.worker()
    held = await room.begin(IN_TURN, by=other)
    _, task = room.ask()
    await room.waiting(1)
    room.end(held, by=other)
    await task


async def test_several_slots_that_become_free_are_all_used(room: Room) -> None:
    three = plan(at_once(3, on_full=QUEUE))
    held = [await room.begin(three) for _ in range(3)]
    tasks = [room.ask(three)[1] for _ in range(4)]
    await room.waiting(4)
    for one in held:
        room.end(one)
    await asyncio.gather(*tasks[:3])
    assert not tasks[3].done()
    tasks[3].cancel()


async def test_who_waits_for_one_slot_may_find_another_limit_full(room: Room) -> None:
    small, large = at_once(1, on_full=QUEUE), at_once(2, name="all", on_full=QUEUE)
    builds, others, other = plan(small, large), plan(large), room.worker()
    first, second = await room.begin(builds), await room.begin(others)
    _, task = room.ask(builds)
    await room.waiting(1)
    room.end(first)
    await asyncio.sleep(0)  # both are released, and nobody has looked yet
    third = await room.begin(others, by=other)
    asked = len(room.store.asks)
    await until(lambda: len(room.store.asks) > asked)
    assert not task.done()
    assert room.slots.get("concurrency_waiting") == 1
    room.end(second)
    room.end(third, by=other)
    await task


async def test_who_waits_is_refused_by_an_empty_bucket(room: Room) -> None:
    charges = plan(limit(1, burst=1, period_ms=86_400_000), at_once(1, on_full=QUEUE))
    held = await room.begin(plan(at_once(1, on_full=QUEUE)))
    _, task = room.ask(charges)
    await room.waiting(1)
    await room.store.decide("7l", *_spent(charges, room))
    room.end(held)
    with pytest.raises(RateLimited):
        await task
    assert room.waits("refused") == 1


def _spent(charges: ChargePlan, room: Room) -> tuple[Charges, Ask]:
    return Charges(plan(*charges.limits), room.store.now_ms()), Ask()


async def test_only_calls_that_last_are_renewed(room: Room) -> None:
    first = await room.begin(plan(at_once(2)))
    room.admitter.look_after_slots()
    assert room.store.renewed == []
    room.clock.advance(RENEW_AFTER_US / 1_000_000)
    await room.begin(plan(at_once(2)))
    room.admitter.look_after_slots()
    assert [list(names.values()) for _, names in room.store.renewed] == [[[first.grant.slot]]]  # type: ignore[union-attr]  # it has a grant


async def test_a_call_keeps_its_slot_as_long_as_it_lasts(room: Room) -> None:
    held = await room.begin()
    for _ in range(20):
        room.clock.advance(RENEW_AFTER_US / 1_000_000)
        room.admitter.look_after_slots()
        with pytest.raises(ConcurrencyExceeded):
            await room.begin()
    room.end(held)
    await asyncio.sleep(0)
    await room.begin()


async def test_a_renewal_that_failed_is_tried_again(room: Room) -> None:
    await room.begin()
    room.clock.advance(RENEW_AFTER_US / 1_000_000)
    room.store.down = True
    room.admitter.look_after_slots()
    room.store.down = False
    room.clock.advance(1)
    room.admitter.look_after_slots()
    room.clock.advance(SLOT_MS / 1000 - 1)
    with pytest.raises(ConcurrencyExceeded):
        await room.begin()


async def test_a_release_that_failed_is_made_up_for(room: Room) -> None:
    held = await room.begin()
    room.store.down = True
    room.end(held)
    await asyncio.sleep(0)
    room.store.down = False
    room.admitter.look_after_slots()
    await room.begin()


async def test_a_slot_given_unheard_is_released(room: Room) -> None:
    room.store.down, room.store.unsent = True, False
    with pytest.raises(AdmissionUnavailable):
        await room.begin()
    room.store.down = False
    await asyncio.sleep(0)
    assert len(room.store.released) == 1


@pytest.mark.parametrize("action", OnStoreLoss)
async def test_without_the_store_the_policy_decides(room: Room, action: OnStoreLoss) -> None:
    charges = plan(limit(burst=1000), at_once(1, on_full=QUEUE), on_store_loss=action)
    held = await room.begin(charges)
    tasks = [room.ask(charges)[1] for _ in range(MOST_WAITING)]
    await room.waiting(MOST_WAITING)
    room.store.down = True
    results = await asyncio.gather(*tasks, return_exceptions=True)
    if action is OnStoreLoss.REFUSE:
        assert {type(result) for result in results} == {AdmissionUnavailable}
    elif action is OnStoreLoss.LOCAL:  # this worker's part of the slots is in use
        assert {type(result) for result in results} == {ConcurrencyExceeded}
    else:
        assert all(isinstance(result, Exchange) and result.grant is not None for result in results)
    assert room.slots.get("concurrency_waiting") == 0
    room.end(held)


async def test_without_the_store_each_worker_counts_its_part_of_the_slots(room: Room) -> None:
    charges = plan(limit(burst=1000), at_once(4), on_store_loss=OnStoreLoss.LOCAL)
    halves = [room.worker(workers=2), room.worker(workers=2)]
    before = await room.begin(charges, by=halves[0])
    room.store.down = True
    second = await room.begin(charges, by=halves[0])
    with pytest.raises(ConcurrencyExceeded) as caught:
        await room.begin(charges, by=halves[0])
    assert caught.value.extensions["limits"] == [{"policy": "builds", "limit": 4, "used": 4, "remaining": 0}]
    for _ in range(2):
        await room.begin(charges, by=halves[1])
    room.end(before, by=halves[0])
    assert second.grant is not None
    assert not second.grant.charged
    await room.begin(charges, by=halves[0])


async def test_calls_that_only_their_worker_counted_are_counted_by_the_store_when_it_is_back(
    room: Room,
) -> None:
    charges = plan(at_once(2), on_store_loss=OnStoreLoss.LOCAL)
    room.store.down = True
    calls = [await room.begin(charges) for _ in range(2)]
    room.store.down = False
    room.clock.advance(RENEW_AFTER_US / 1_000_000)
    room.admitter.look_after_slots()
    with pytest.raises(ConcurrencyExceeded):
        await room.begin(charges, by=room.worker())
    for one in calls:
        room.end(one)
    await asyncio.sleep(0)
    await room.begin(charges, by=room.worker())


async def test_without_the_store_a_shadow_and_a_limit_below_the_number_of_workers(room: Room) -> None:
    room.store.down = True
    worker = room.worker(workers=8)
    one = plan(at_once(2), at_once(1, name="tried", shadow=True), on_store_loss=OnStoreLoss.LOCAL)
    first = await room.begin(one, by=worker)  # its part would be a quarter of a call
    with pytest.raises(ConcurrencyExceeded):
        await room.begin(one, by=worker)
    room.end(first, by=worker)
    await room.begin(one, by=worker)


async def test_without_the_store_what_is_refused_by_a_bucket_takes_no_slot(room: Room) -> None:
    room.store.down = True
    await room.begin(plan(limit(burst=1), at_once(2), on_store_loss=OnStoreLoss.LOCAL))
    for _ in range(3):
        with pytest.raises(RateLimited):
            await room.begin(plan(limit(burst=1), at_once(2), on_store_loss=OnStoreLoss.LOCAL))
    await room.begin(plan(limit(burst=1, name="other"), at_once(2), on_store_loss=OnStoreLoss.LOCAL))


async def test_a_worker_that_ends_releases_everything(room: Room) -> None:
    for _ in range(3):
        await room.begin(plan(at_once(3)))
    await room.admitter.close()
    other = room.worker()
    for _ in range(3):
        await room.begin(plan(at_once(3)), by=other)


async def test_a_shadow_counts_its_slots_and_refuses_nobody(room: Room) -> None:
    charges = plan(at_once(1, name="tried", shadow=True), at_once(3, on_full=QUEUE))
    first, second, _third = [await room.begin(charges) for _ in range(3)]
    refused = room.slots.named("shadow_refusals_total", "tried")
    assert room.slots.cells[refused] == 2
    with pytest.raises(ConcurrencyExceeded) as caught:
        await room.begin(plan(at_once(1, name="tried", shadow=True), at_once(3)))
    assert caught.value.extensions["violated-policies"] == ["builds"]
    room.end(first)
    room.end(second)
    await room.begin(charges)
    assert room.slots.cells[refused] == 3


async def test_nobody_queues_for_a_shadow(room: Room) -> None:
    await room.begin(IN_TURN)
    room.ask(IN_TURN)
    await asyncio.sleep(0)
    await room.begin(plan(at_once(1, on_full=QUEUE, shadow=True)))
    assert room.slots.get("concurrency_waiting") == 1

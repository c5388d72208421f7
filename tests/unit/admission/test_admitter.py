"""The admission stage over a store in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.admission.admitter import SETTLED_US, Admitter
from gateway.admission.charges import Charges
from gateway.admission.leases import LEASE_US, SIZE_MAX
from gateway.admission.store import Ask
from gateway.clock import ManualClock
from gateway.errors import AdmissionUnavailable, QuotaExceeded, RateLimited
from gateway.inline import Wait, drive
from gateway.model.exchange import Exchange, Grant, RequestHead
from gateway.model.periods import Period
from gateway.model.policies import AdmissionMode, ChargePlan, LimitFields, OnStoreLoss
from gateway.model.principal import Mode
from gateway.model.usage import Marks
from gateway.outcomes import Outcome
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.fakes import FakeStore
from tests.unit.admission.plans import at_once, call, limit, plan, principal, quota

AUTO = AdmissionMode.AUTO
PLENTY = plan(limit(60_000, burst=1_000_000), quota(10_000_000), mode=AUTO)
LEASE_S = LEASE_US / 1_000_000


class Room:
    """An admitter with everything a test wants to look at."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_784_000_000_000_000)
        self.slots = Slots.in_memory()
        self.tasks = Tasks()
        self.store = FakeStore(self.clock)
        self.admitter = Admitter(self.store, self.slots, self.clock, self.tasks, "w1", workers=2)

    async def calls(self, charges: ChargePlan, times: int) -> list[Grant]:
        return [await self.admitter.admit(principal(), charges, call()) for _ in range(times)]

    async def left(self, charges: ChargePlan) -> tuple[int, ...]:
        """What the store has, asked by somebody else."""
        now_ms = self.clock.now_us() // 1000
        return (await self.store.decide("7l", Charges(charges, now_ms), Ask(calls=0))).left

    @property
    def leased(self) -> int:
        return self.slots.get("admission_leased_total")


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    one = Room()
    yield one
    await one.tasks.close()


async def everything_resumed() -> None:
    """Within a test's task waits are resumed by the loop, in a worker at once."""
    for _ in range(10):
        await asyncio.sleep(0)


def ended(grant: Grant | None, outcome: Outcome, status: int = 0) -> Exchange:
    exchange = Exchange(RequestHead(), cast("Any", None), b"")  # nobody is answered here
    exchange.grant, exchange.outcome, exchange.status = grant, outcome, status
    return exchange


async def test_a_plan_without_charges_asks_nobody(room: Room) -> None:
    room.store.down = True
    grant = await room.admitter.admit(principal(), plan(), call())
    assert (grant.header, grant.charged) == (b"", True)


async def test_exact_decides_every_call_by_the_store(room: Room) -> None:
    await room.calls(plan(limit(60_000, burst=100_000), mode=AdmissionMode.EXACT), 50)
    assert len(room.store.asks) == 50
    assert {ask.wanted for ask in room.store.asks} == {0}


async def test_a_refused_call_raises(room: Room) -> None:
    charges = plan(limit(60, burst=2), mode=AUTO)
    await room.calls(charges, 2)
    with pytest.raises(RateLimited):
        await room.calls(charges, 1)


async def test_a_used_up_quota_raises(room: Room) -> None:
    charges = plan(limit(60, burst=2), quota(1), mode=AUTO)
    await room.calls(charges, 1)
    with pytest.raises(QuotaExceeded):
        await room.calls(charges, 1)


async def test_the_first_call_in_a_while_is_exact(room: Room) -> None:
    for _ in range(5):
        await room.calls(PLENTY, 1)
        room.clock.advance(LEASE_S)
        room.admitter.upkeep()
    assert [(ask.calls, ask.wanted) for ask in room.store.asks] == [(1, 0)] * 5


async def test_busy_accounts_buy_twice_as_much_each_time(room: Room) -> None:
    await room.calls(PLENTY, 5000)
    wanted = [ask.wanted for ask in room.store.asks]
    assert wanted[:10] == [0, 1, 2, 4, 8, 16, 32, 64, 128, SIZE_MAX]
    assert set(wanted[10:]) == {SIZE_MAX}
    assert len(wanted) < 60
    assert room.leased > 4900


async def test_a_lease_never_holds_as_much_as_two_slices(room: Room) -> None:
    """It buys ahead when less than half is left. What it holds is charged, and nobody has used it."""
    held = []
    for used in range(1, 4001):
        await room.calls(PLENTY, 1)
        held.append(10_000_000 - (await room.left(PLENTY))[1] - used)
    assert SIZE_MAX < max(held) < 2 * SIZE_MAX


async def test_what_is_shown_counts_down_by_one(room: Room) -> None:
    grants = await room.calls(PLENTY, 300)
    shown = [int(grant.header.split(b'"api_calls";r=')[1].split(b";")[0]) for grant in grants]
    assert shown == [10_000_000 - number for number in range(1, 301)]


async def test_a_lease_is_used_up_to_its_end_and_no_longer(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    asked, leased = len(room.store.asks), room.leased
    room.clock.advance(LEASE_S - 0.001)
    await room.calls(PLENTY, 1)
    assert (len(room.store.asks), room.leased) == (asked, leased + 1)
    room.clock.advance(0.001)
    await room.calls(PLENTY, 1)
    assert (len(room.store.asks), room.leased) == (asked + 1, leased + 1)


async def test_unused_calls_go_back(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    room.clock.advance(LEASE_S)
    room.admitter.upkeep()
    room.clock.advance(60)
    assert await room.left(PLENTY) == (1_000_000, 10_000_000 - 1000)


async def test_calls_that_came_back_shrink_the_next_purchase(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    room.clock.advance(LEASE_S)
    room.admitter.upkeep()
    await room.calls(PLENTY, 1)
    assert room.store.asks[-1].wanted < SIZE_MAX


async def test_an_idle_account_is_forgotten(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    for _ in range(3):
        room.clock.advance(LEASE_S)
        room.admitter.upkeep()
    await room.calls(PLENTY, 1)
    assert (room.store.asks[-1].wanted, room.store.asks[-1].held) == (0, 0)


async def test_scarce_limits_are_decided_one_by_one(room: Room) -> None:
    charges = plan(limit(60, burst=10), quota(4000), mode=AUTO)
    await room.calls(charges, 10)
    assert len(room.store.asks) == 10
    assert room.leased == 0


async def test_live_and_test_calls_have_leases_of_their_own(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    asked = len(room.store.asks)
    await room.admitter.admit(principal(mode=Mode.TEST), PLENTY, call())
    assert len(room.store.asks) == asked + 1


async def test_a_lease_ends_with_its_period_and_goes_back_to_it(room: Room) -> None:
    hourly = plan(quota(10_000_000, per=Period.HOUR), mode=AUTO)
    room.clock.advance(3600 - room.clock.now_us() / 1_000_000 % 3600 - 0.2)
    old = (await room.calls(hourly, 1000))[-1].periods
    room.clock.advance(0.2)
    assert (await room.calls(hourly, 1))[0].periods.start_us == old.end_us == old.start_us + 3_600_000_000
    await room.admitter.close()
    assert await room.left(hourly) == (9_999_999,)
    room.clock.step_wall(-0.1)
    assert await room.left(hourly) == (10_000_000 - 1000,)


async def test_calls_wait_for_a_purchase_that_will_serve_them(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    room.clock.advance(LEASE_S)  # the lease is over, its size is known
    room.store.gate = Wait()
    granted: list[Grant] = []

    async def one() -> None:
        granted.append(await room.admitter.admit(principal(), PLENTY, call()))

    asked = len(room.store.asks)
    for _ in range(50):
        drive(one(), lambda error: None)
    assert (len(granted), len(room.store.asks)) == (0, asked + 1)
    gate, room.store.gate = room.store.gate, None
    gate.set(None)
    await everything_resumed()
    assert len(granted) == 50


async def test_calls_beyond_a_purchase_are_asked_for_together(room: Room) -> None:
    room.store.gate = Wait()
    outcomes: list[BaseException | None] = []

    async def one() -> None:
        await room.admitter.admit(principal(), PLENTY, call())

    for _ in range(20):
        drive(one(), outcomes.append)
    await asyncio.sleep(0)
    asked = [ask.calls for ask in room.store.asks]
    assert asked == [1, 19], "the first call buys nothing ahead, so nobody waits for it"
    for _ in range(20):
        gate, room.store.gate = room.store.gate, None
        if gate is not None:
            gate.set(None)


async def test_a_caller_who_leaves_takes_no_calls_with_him(room: Room) -> None:
    await room.calls(PLENTY, 100)
    room.clock.advance(LEASE_S)
    gate: Wait[None] = Wait()
    room.store.gate = gate
    leaver = asyncio.ensure_future(room.admitter.admit(principal(), PLENTY, call()))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    room.store.gate = None
    gate.set(None)
    await everything_resumed()
    await room.admitter.close()
    assert (await room.left(PLENTY))[1] == 10_000_000 - 101, "his own call is charged, what he bought is not"


async def test_a_purchase_that_ends_in_a_defect_keeps_nobody_waiting(room: Room) -> None:
    """Nor does the next one wait for it, nor the end of the worker."""
    await room.calls(PLENTY, 9)
    room.store.defect = ZeroDivisionError
    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            *(room.admitter.admit(principal(), PLENTY, call()) for _ in range(SIZE_MAX)),
            return_exceptions=True,
        )
        assert {type(one) for one in answers} == {Grant, ZeroDivisionError}
        room.store.defect = None
        assert await room.calls(PLENTY, 1)
        await room.admitter.close()


async def test_close_gives_everything_back(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    await room.admitter.close()
    room.clock.advance(60)
    assert await room.left(PLENTY) == (1_000_000, 10_000_000 - 1000)
    await room.calls(PLENTY, 5)
    assert {ask.wanted for ask in room.store.asks[-5:]} == {0}, "and buys nothing any more"


@pytest.mark.parametrize("mode", list(AdmissionMode))
async def test_without_a_store_refuse_refuses(room: Room, mode: AdmissionMode) -> None:
    room.store.down = True
    with pytest.raises(AdmissionUnavailable) as refused:
        await room.calls(plan(limit(), mode=mode), 1)
    assert refused.value.headers == b"Retry-After: 1\r\n"
    assert "down for the test" not in str(refused.value)
    assert room.slots.get("admission_store_lost_total", "refuse") == 1


@pytest.mark.parametrize("mode", list(AdmissionMode))
async def test_without_a_store_allow_lets_pass_unchecked(room: Room, mode: AdmissionMode) -> None:
    room.store.down = True
    charges = plan(limit(), mode=mode, on_store_loss=OnStoreLoss.ALLOW)
    grants = await room.calls(charges, 30)
    assert {(grant.charged, grant.header) for grant in grants} == {(False, b"")}
    assert room.slots.get("admission_store_lost_total", "allow") == 30


@pytest.mark.parametrize("mode", list(AdmissionMode))
async def test_without_a_store_local_lets_the_worker_s_part_pass(room: Room, mode: AdmissionMode) -> None:
    room.store.down = True
    charges = plan(limit(60, burst=20), quota(), mode=mode, on_store_loss=OnStoreLoss.LOCAL)
    grants = await room.calls(charges, 10)
    assert {(grant.charged, grant.header) for grant in grants} == {(False, b"")}
    with pytest.raises(RateLimited) as refused:
        await room.calls(charges, 1)
    assert b"Retry-After: 2\r\n" in refused.value.headers
    assert "allows 60 calls per minute with bursts of up to 20" in str(refused.value), "what is sold"
    assert room.slots.get("admission_store_lost_total", "local") == 11
    assert room.slots.get("admission_local_refusals_total") == 1
    room.store.down = False
    assert (await room.calls(charges, 1))[0].charged


async def test_without_a_store_local_refuses_for_a_quota_known_to_be_used_up(room: Room) -> None:
    charges = plan(quota(1), on_store_loss=OnStoreLoss.LOCAL)
    await room.calls(charges, 1)
    for down in (False, True):
        room.store.down = down
        with pytest.raises(QuotaExceeded) as refused:
            await room.calls(charges, 1)
        assert "1 of 1 api_calls in this month" in str(refused.value)


async def test_an_outage_is_logged_once_and_so_is_its_end(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    charges = plan(limit(), on_store_loss=OnStoreLoss.ALLOW)
    for down in (True, True, False, False):
        room.store.down = down
        await room.calls(charges, 2)
        room.clock.advance(SETTLED_US / 1_000_000 + 0.1)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_a_lease_in_hand_outlives_the_store(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    room.store.down = True
    await room.calls(PLENTY, 10)
    room.store.down = False
    await room.calls(PLENTY, 1000)


@pytest.mark.parametrize(
    ("outcome", "status", "units"),
    [
        (Outcome.SERVED, 404, 0),
        (Outcome.CLIENT_ABORTED, 200, 0),
        (Outcome.CLIENT_ABORTED, 0, 4),
        (Outcome.UPSTREAM_ERROR, 502, 4),
        (Outcome.UPSTREAM_ABORTED, 200, 4),
        (Outcome.TIMEOUT, 504, 4),
        (Outcome.OVERLOADED, 503, 4),
        (Outcome.UNEXPECTED, 500, 4),
    ],
)
async def test_calls_that_are_not_billed_pay_no_quota(
    room: Room, outcome: Outcome, status: int, units: int
) -> None:
    charges = plan(limit(60, burst=20), (quota(1000), 2))
    grants = await room.calls(charges, 2)
    for grant in grants:
        room.admitter.settle(ended(grant, outcome, status))
    room.admitter.upkeep()
    assert await room.left(charges) == (18, 996 + units)
    assert len(room.store.refunded) == (1 if units else 0), "one call carries all of them"


async def test_a_refund_goes_to_the_period_of_the_call(room: Room) -> None:
    hourly = plan(quota(100, per=Period.HOUR))
    grant = (await room.calls(hourly, 1))[0]
    room.clock.advance(3600)
    await room.calls(hourly, 1)
    room.admitter.settle(ended(grant, Outcome.TIMEOUT))
    room.admitter.upkeep()
    assert await room.left(hourly) == (99,)


async def test_calls_never_charged_are_not_refunded(room: Room) -> None:
    unchecked = Grant(principal(), plan(quota(5)), b"", charged=False)
    for grant in (None, unchecked):
        room.admitter.settle(ended(grant, Outcome.UNEXPECTED))
    room.admitter.upkeep()
    assert room.store.refunded == []


TOKENS = quota(1000, meter="tokens")


@pytest.mark.parametrize(
    ("case", "due", "used"),
    [
        ("as reserved", {"tokens": 100}, 100),
        ("cheaper", {"tokens": 30}, 30),
        ("free", {"tokens": 0}, 0),
        ("dearer", {"tokens": 700}, 700),
        ("far beyond the amount", {"tokens": 5000}, 5000),
    ],
)
async def test_a_call_is_settled_by_what_it_turned_out_to_cost(
    room: Room, case: str, due: dict[str, int], used: int
) -> None:
    charges = plan((TOKENS, 100))
    (grant,) = await room.calls(charges, 1)
    exchange = ended(grant, Outcome.SERVED, 200)
    exchange.due = due
    room.admitter.settle(exchange)
    assert await room.left(charges) == (1000 - used,), f"{case}, at once"
    if used > 900:
        with pytest.raises(QuotaExceeded):
            await room.calls(charges, 1)


async def test_calls_of_a_lease_are_settled_like_others(room: Room) -> None:
    much = quota(10_000_000, meter="tokens")
    charges = plan((much, 10), mode=AUTO)
    grants = await room.calls(charges, 40)
    assert room.leased > 0
    for grant in grants:
        exchange = ended(grant, Outcome.SERVED, 200)
        exchange.due = {"tokens": 25}
        room.admitter.settle(exchange)
    await room.admitter.close()
    assert await room.left(charges) == (10_000_000 - 40 * 25,)


async def test_a_bucket_of_a_meter_is_settled_and_others_are_not(room: Room) -> None:
    charges = plan(
        limit(60, burst=20),
        limit(60, burst=1000, name="tpm", meter="tokens"),
        limit(60, burst=1000, name="per-key", meter="tokens", scope=("account", "key")),
        metered={"tokens": 100},
    )
    exchange = call()
    grant = await room.admitter.admit(principal(), charges, exchange)
    exchange.grant, exchange.outcome, exchange.due = grant, Outcome.SERVED, {"api_calls": 1, "tokens": 400}
    room.admitter.settle(exchange)
    keys = ("b:burst", "b:tpm", "b:per-key:key=1")
    now_ms = room.clock.now_us() // 1000
    decision = await room.store.decide("7l", Charges(charges, now_ms).paid_into(keys), Ask(calls=0))
    assert decision.left == (19, 600, 600)


async def test_an_unbilled_call_gets_tokens_of_meters_back(room: Room) -> None:
    charges = plan(limit(60, burst=1000, name="tpm", meter="tokens"), metered={"tokens": 100})
    (grant,) = await room.calls(charges, 1)
    room.admitter.settle(ended(grant, Outcome.UPSTREAM_ERROR, 500))
    room.admitter.upkeep()
    assert await room.left(charges) == (1000,)


async def test_what_was_passed_unchecked_is_not_settled(room: Room) -> None:
    charges = plan((TOKENS, 100), on_store_loss=OnStoreLoss.ALLOW)
    room.store.down = True
    (grant,) = await room.calls(charges, 1)
    room.store.down = False
    exchange = ended(grant, Outcome.SERVED, 200)
    exchange.due = {"tokens": 700}
    room.admitter.settle(exchange)
    assert await room.left(charges) == (1000,)


@pytest.mark.parametrize(
    ("case", "unsent", "left"), [("never sent: again", True, 1000), ("perhaps sent: not twice", False, 999)]
)
async def test_refunds_survive_an_outage_but_never_run_twice(
    room: Room, case: str, unsent: bool, left: int
) -> None:
    charges = plan(quota(1000))
    grant = (await room.calls(charges, 1))[0]
    room.admitter.settle(ended(grant, Outcome.TIMEOUT))
    room.store.down, room.store.unsent = True, unsent
    room.admitter.upkeep()
    room.store.down = False
    room.admitter.upkeep()
    assert await room.left(charges) == (left,), case


async def test_leases_that_end_during_an_outage_give_their_units_back_later(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    room.store.down = True
    room.clock.advance(LEASE_S)
    room.admitter.upkeep()
    room.store.down = False
    room.admitter.upkeep()
    assert (await room.left(PLENTY))[1] == 10_000_000 - 1000


async def test_upkeep_runs_by_itself(room: Room) -> None:
    await room.calls(PLENTY, 1000)
    room.clock.advance(LEASE_S)
    async with asyncio.timeout(10):
        while not room.store.returned:
            await asyncio.sleep(0.01)


async def passed(room: Room, charges: ChargePlan, times: int, key_id: int = 1, account_id: int = 7) -> int:
    """How many of so many calls with a key pass."""
    count = 0
    for _ in range(times):
        one = call(account_id, key_id=key_id)
        assert one.principal is not None
        with suppress(RateLimited):
            await room.admitter.admit(one.principal, charges, one)
            count += 1
    return count


PER_KEY = ("account", "key")
MODES = list(AdmissionMode)


@pytest.mark.parametrize("mode", MODES)
async def test_keys_have_caps_within_the_account_s_pool(room: Room, mode: AdmissionMode) -> None:
    charges = plan(limit(60, burst=100), limit(60, burst=40, name="per-key", scope=PER_KEY), mode=mode)
    assert [await passed(room, charges, 200, key_id) for key_id in (1, 2, 3, 4)] == [40, 40, 20, 0]


async def test_keys_buy_ahead_each_for_itself(room: Room) -> None:
    charges = plan(
        limit(60_000, burst=1_000_000),
        limit(60_000, burst=100_000, name="per-key", scope=PER_KEY),
        mode=AUTO,
    )
    assert [await passed(room, charges, 2000, key_id) for key_id in (1, 2)] == [2000, 2000]
    assert room.leased > 3800
    room.clock.advance(LEASE_S)
    room.admitter.upkeep()
    room.clock.advance(60)
    one = call()
    assert one.principal is not None
    grant = await room.admitter.admit(one.principal, charges, one)
    assert grant.header.endswith(b'RateLimit: "per-key";r=99999;t=100,"burst";r=999999;t=1000\r\n')


async def test_what_accounts_share_they_use_up_together(room: Room) -> None:
    charges = plan(limit(60, burst=50), limit(60, burst=60, name="per-address", scope=("ip",)))
    assert [await passed(room, charges, 80, account_id=number) for number in (1, 2)] == [50, 10]
    other_rate = plan(limit(90, burst=60, name="per-address", scope=("ip",)))
    assert await passed(room, other_rate, 80, account_id=3) == 60, "another rate is another bucket"


async def test_a_dear_call_takes_more_and_never_more_than_a_burst(room: Room) -> None:
    assert await passed(room, plan(limit(60, burst=10), cost=3), 9) == 3
    assert await passed(room, plan(limit(60, burst=10), cost=10**9), 9, account_id=8) == 1


LATER_MS = 3000


async def waits_told(room: Room, charges: ChargePlan, times: int) -> set[int]:
    told = set()
    for _ in range(times):
        with pytest.raises((RateLimited, AdmissionUnavailable)) as refused:
            await room.calls(charges, 1)
        told.add(int(refused.value.headers.partition(b"Retry-After: ")[2]))
    return told


async def test_callers_refused_at_once_are_told_to_come_back_one_by_one(room: Room) -> None:
    charges = replace(plan(limit(60, burst=1), mode=AUTO), retry_jitter_ms=LATER_MS)
    await room.calls(charges, 1)
    assert await waits_told(room, charges, 300) - {1} == {2, 3, 4}, "1 s is rare: 1000 ms and not one more"
    room.store.down = True
    assert await waits_told(room, charges, 300) - {1} == {2, 3, 4}


@pytest.mark.parametrize("fields", list(LimitFields))
async def test_a_lease_speaks_the_dialect_of_the_policies(room: Room, fields: LimitFields) -> None:
    wanted = {
        LimitFields.DRAFT: b"RateLimit-Policy: ",
        LimitFields.LEGACY: b"X-RateLimit-Limit: 1000000\r\n",
        LimitFields.OFF: b"",
    }
    charges = replace(PLENTY, fields=fields, policy_header=b"RateLimit-Policy: p\r\n")
    grants = await room.calls(charges, 50)
    assert room.leased > 40
    for grant in grants:
        assert grant.header.startswith(wanted[fields])
        assert grant.header.endswith(b"\r\n") is (fields is not LimitFields.OFF)


@pytest.mark.parametrize("mode", MODES)
async def test_shadows_are_counted_and_refuse_nobody(room: Room, mode: AdmissionMode) -> None:
    tried = limit(60, burst=5, name="tried", shadow=True)
    charges = plan(limit(60_000, burst=100_000), tried, quota(8, shadow=True), mode=mode)
    grants = await room.calls(charges, 12)
    assert all(grant.charged and b"tried" not in grant.header for grant in grants)
    counted = [
        room.slots.cells[room.slots.named("shadow_refusals_total", one)] for one in ("tried", "api_calls")
    ]
    assert counted == [7, 4]


async def test_a_lease_of_a_shadow_alone_says_nothing(room: Room) -> None:
    charges = plan(limit(60_000, burst=100_000, shadow=True), mode=AUTO)
    grants = await room.calls(charges, 50)
    assert room.leased > 40
    assert {grant.header for grant in grants} == {b""}


async def test_without_a_store_shadows_are_not_decided(room: Room) -> None:
    room.store.down = True
    charges = plan(limit(1, burst=1, shadow=True), quota(1, shadow=True), on_store_loss=OnStoreLoss.LOCAL)
    assert len(await room.calls(charges, 5)) == 5


async def test_a_call_that_a_shadow_would_have_refused_is_marked(room: Room) -> None:
    charges = plan(limit(60, burst=5), limit(60, burst=1, name="tried", shadow=True))
    first, second = call(), call()
    await room.admitter.admit(principal(), charges, first)
    await room.admitter.admit(principal(), charges, second)
    assert (first.marks, second.marks) == (None, Marks(shadows=("tried",)))


async def test_calls_beyond_a_soft_quota_pass_and_are_marked(room: Room) -> None:
    charges = plan((quota(3, soft=True), 2), limit(60, burst=9))
    grants = await room.calls(charges, 3)
    assert [dict(grant.beyond) for grant in grants] == [{}, {"api_calls": 1}, {"api_calls": 2}]
    marked = [b"Tollway-Beyond-Quota: api_calls\r\n" in grant.header for grant in grants]
    assert marked == [False, True, True]
    assert b'"api_calls";r=0;' in grants[2].header
    assert room.slots.get("quota_beyond_total", "0") == 2
    assert room.slots.get("shadow_refusals_total", "0") == 0


async def test_a_shadow_marks_nothing_though_it_is_soft(room: Room) -> None:
    grants = await room.calls(plan(quota(1, soft=True, shadow=True)), 2)
    assert [(dict(grant.beyond), grant.header) for grant in grants] == [({}, b"")] * 2


async def test_calls_with_slots_are_marked_as_well(room: Room) -> None:
    grants = await room.calls(plan(quota(1, soft=True), at_once(5)), 2)
    assert [dict(grant.beyond) for grant in grants] == [{}, {"api_calls": 1}]

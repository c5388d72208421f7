"""Calls of one loop tick: asked for together, answered as if each had been asked for by itself."""

from __future__ import annotations

import asyncio

import pytest

from gateway.admission.admitter import Admitter
from gateway.admission.charges import Charges
from gateway.admission.store import Ask, Decision, Status
from gateway.admission.together import ROUNDS
from gateway.clock import ManualClock
from gateway.errors import AdmissionUnavailable, GatewayError, QuotaExceeded, RateLimited
from gateway.model.exchange import Exchange, Grant
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.fakes import FakeStore
from tests.unit.admission.plans import call, limit, plan, principal, quota

PLAN = plan(limit(60, burst=9), quota(7, per=Period.DAY))
Answer = Grant | GatewayError


class Room:
    """A worker, and calls that arrive in one tick."""

    def __init__(self, store: FakeStore | None = None) -> None:
        self.clock = ManualClock(1_784_030_400_000_000)
        self.store = store or FakeStore(self.clock)
        self.slots = Slots.in_memory()
        self.admitter = Admitter(self.store, self.slots, self.clock, Tasks(), "w")

    async def at_once(self, *calls: ChargePlan, account: int = 7) -> list[Answer]:
        return await asyncio.gather(*(self.one(charges, account) for charges in calls))

    async def one(self, charges: ChargePlan, account: int = 7, into: Exchange | None = None) -> Answer:
        exchange = into or call(account)
        try:
            return await self.admitter.admit(principal(account), charges, exchange)
        except GatewayError as refused:
            return refused

    @property
    def asked(self) -> list[int]:
        return [ask.calls for ask in self.store.asks]


@pytest.fixture
def room() -> Room:
    return Room()


def lines(answers: list[Answer]) -> list[bytes]:
    return [one.header if isinstance(one, Grant) else type(one).__name__.encode() for one in answers]


async def test_calls_of_one_tick_are_one_ask_and_hear_what_each_would_have_heard(room: Room) -> None:
    alone = Room()
    in_turn = [await alone.one(PLAN) for _ in range(5)]
    assert lines(await room.at_once(*[PLAN] * 5)) == lines(in_turn)
    assert (room.asked, alone.asked) == ([5], [1] * 5)


async def test_where_plenty_is_left_each_hears_how_much(room: Room) -> None:
    charges = plan(limit(6000, burst=9000), quota(7000, per=Period.DAY))
    told = lines(await room.at_once(*[charges] * 3))
    assert [line.partition(b'"api_calls";r=')[2][:4] for line in told] == [b"6999", b"6998", b"6997"]
    assert [line.partition(b'"burst";')[2] for line in told] == [
        b"r=8999;t=90\r\n",
        b"r=8998;t=90\r\n",
        b"r=8997;t=90\r\n",
    ]


async def test_as_many_pass_as_can_pay_and_the_first_come_first(room: Room) -> None:
    answers = await room.at_once(*[PLAN] * 12)
    assert [type(one) for one in answers] == [Grant] * 7 + [QuotaExceeded] * 5
    assert room.asked == [12, 5], "if not one can pay, nobody can"
    assert (await room.store.decide("7l", Charges(PLAN, room.store.now_ms()), Ask(calls=0))).left == (2, 0)


async def test_accounts_and_plans_are_apart(room: Room) -> None:
    other = plan(limit(60, burst=1, name="other"))
    one, two = await asyncio.gather(
        room.at_once(PLAN, PLAN, other, other), room.at_once(PLAN, PLAN, PLAN, account=8)
    )
    assert [type(each) for each in (*one, *two)] == [Grant] * 3 + [RateLimited] + [Grant] * 3
    assert sorted(room.asked) == [1, 2, 2, 3]


async def test_a_shadow_is_told_of_exactly_by_those_it_would_have_refused(room: Room) -> None:
    charges = plan(limit(60, burst=9), limit(60, burst=2, name="tried", shadow=True))
    exchanges = [call() for _ in range(5)]
    await asyncio.gather(*(room.one(charges, into=each) for each in exchanges))
    assert [each.marks.shadows if each.marks else () for each in exchanges] == [()] * 2 + [("tried",)] * 3
    assert room.asked == [5, 3]


async def test_units_beyond_a_soft_quota_are_those_of_each_call(room: Room) -> None:
    charges = plan((quota(5, per=Period.DAY, soft=True), 2))
    answers = await room.at_once(*[charges] * 5)
    assert [one.beyond for one in answers if isinstance(one, Grant)] == [
        {},
        {},
        {"api_calls": 1},
        {"api_calls": 2},
        {"api_calls": 2},
    ]


async def test_when_the_store_is_gone_everybody_hears_it(room: Room) -> None:
    room.store.down = True
    answers = await room.at_once(*[PLAN] * 3)
    assert {type(one) for one in answers} == {AdmissionUnavailable}
    assert room.slots.get("admission_store_lost_total", "refuse") == 3


async def test_a_caller_who_leaves_takes_nobody_with_him(room: Room) -> None:
    tasks = [asyncio.ensure_future(room.one(PLAN)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in answers] == [Grant, asyncio.CancelledError, Grant]


class Trickle(FakeStore):
    """One more token flows in between any two asks."""

    async def decide(self, tag: str, charges: Charges, ask: Ask) -> Decision:
        self.asks.append(ask)
        now_ms = self.now_ms()
        return Decision(Status.ADMITTED, now_ms, 0, (0,) * len(charges.keys), (0,) * len(charges.keys), (), 1)


async def test_nobody_waits_for_long_behind_others() -> None:
    room = Room(Trickle(ManualClock(1_784_030_400_000_000)))
    answers = await room.at_once(*[PLAN] * 9)
    assert {type(one) for one in answers} == {Grant}
    assert room.asked == [9, 8, 7, *[1] * 6]
    assert ROUNDS == 3


async def test_a_defect_is_heard_by_every_call_and_none_waits_for_ever() -> None:
    class Broken(FakeStore):
        async def decide(self, tag: str, charges: Charges, ask: Ask) -> Decision:
            raise ZeroDivisionError

    room = Room(Broken(ManualClock(1_784_030_400_000_000)))
    calls = asyncio.gather(*(room.one(PLAN) for _ in range(3)), return_exceptions=True)
    async with asyncio.timeout(20):
        assert [type(error) for error in await calls] == [ZeroDivisionError] * 3

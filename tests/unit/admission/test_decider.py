"""Deciding at the edge of a period."""

from __future__ import annotations

import pytest

from gateway.admission.charges import Charges
from gateway.admission.decider import Decider
from gateway.admission.memory_store import MemoryStore
from gateway.admission.store import EXACT, Ask, Decision, Status
from gateway.clock import ManualClock
from gateway.errors import StoreUnavailable
from gateway.model.periods import Period
from tests.unit.admission.plans import plan, quota

HOURLY = plan(quota(5, per=Period.HOUR))


class SlowClockStore(MemoryStore):
    """Its `now_ms()` lags behind the time it decides by, like an estimate does."""

    lag_ms = 2

    def now_ms(self) -> int:
        return super().now_ms() - self.lag_ms

    async def decide(self, tag: str, charges: Charges, ask: Ask) -> Decision:
        lag, self.lag_ms = self.lag_ms, 0
        try:
            return await super().decide(tag, charges, ask)
        finally:
            self.lag_ms = lag


async def test_a_period_that_has_just_begun_is_found() -> None:
    clock = ManualClock(1_784_030_400_000_000)  # the first moment of an hour
    charges, decision = await Decider(SlowClockStore(clock)).decide("1l", HOURLY, EXACT)
    assert decision.status is Status.ADMITTED
    assert charges.periods.counters == ("q:api_calls:hour:1784030400",)


async def test_charges_are_worked_out_once_a_period() -> None:
    clock = ManualClock(1_784_030_400_000_000)
    decider = Decider(MemoryStore(clock))
    first, _ = await decider.decide("1l", HOURLY, EXACT)
    clock.advance(3599)
    assert (await decider.decide("2l", HOURLY, EXACT))[0] is first
    clock.advance(1)
    assert (await decider.decide("1l", HOURLY, EXACT))[0] is not first


async def test_a_store_that_never_agrees_is_no_store() -> None:
    class Contrary(MemoryStore):
        async def decide(self, tag: str, charges: Charges, ask: Ask) -> Decision:
            return Decision(Status.OTHER_PERIOD, charges.ends_ms, 0, (), ())

    with pytest.raises(StoreUnavailable):
        await Decider(Contrary(ManualClock())).decide("1l", HOURLY, EXACT)

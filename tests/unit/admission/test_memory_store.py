"""What only the store in memory has to take care of. The rest is in the contract suite."""

from __future__ import annotations

from gateway.admission.charges import Charges
from gateway.admission.memory_store import SWEEP_EVERY, MemoryStore
from gateway.admission.store import EXACT
from gateway.clock import ManualClock
from gateway.model.periods import Period
from tests.unit.admission.plans import limit, plan, quota


async def test_counters_that_no_longer_matter_are_dropped() -> None:
    clock = ManualClock()
    store, charges = MemoryStore(clock), plan(limit(60, burst=20), quota(10**6, per=Period.HOUR))
    for account in range(SWEEP_EVERY - 1):
        await store.decide(f"{account}l", Charges(charges, store.now_ms()), EXACT)
    clock.advance(3 * 3600)
    await store.decide("1l", Charges(charges, store.now_ms()), EXACT)
    assert (len(store._buckets), len(store._counters)) == (1, 1)

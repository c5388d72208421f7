"""Asks the store, with the charges of the periods that are on by the store's own clock."""

from __future__ import annotations

from gateway.admission.charges import Charges, ChargesByPlan
from gateway.admission.store import Ask, Decision, Status, Store
from gateway.errors import StoreUnavailable
from gateway.inline import Wait, waited
from gateway.model.periods import IN_UTC, Calendar
from gateway.model.policies import ChargePlan

Bought = tuple[Charges, Decision]
"""A decision and what it is about."""

TRIES = 3
"""A period may end between our look at the clock and the store's; not three times in a row."""


class Decider:
    """Decides calls of one worker."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._charges = ChargesByPlan()

    def ask(
        self,
        tag: str,
        plan: ChargePlan,
        ask: Ask,
        buckets: tuple[str, ...] | None,
        by: Calendar,
        now_ms: int,
    ) -> tuple[Charges, Wait[Decision]]:
        """`decide` at a time by the store's clock, without a second try: the answer may be OTHER_PERIOD."""
        charges = self._charges.at(plan, now_ms, by)
        if buckets is not None:
            charges = charges.paid_into(buckets)
        return charges, waited(self._store.decide(tag, charges, ask))

    def now_ms(self) -> int:
        """The store's clock."""
        return self._store.now_ms()

    async def decide(
        self,
        tag: str,
        plan: ChargePlan,
        ask: Ask,
        buckets: tuple[str, ...] | None = None,
        by: Calendar = IN_UTC,
    ) -> Bought:
        """The decision, and the charges it is about. `buckets`: keys of a scoped plan's; `by`: whose periods.

        StoreUnavailable when there is none.
        """
        now_ms = self._store.now_ms()
        for _ in range(TRIES):
            charges = self._charges.at(plan, now_ms, by)
            if buckets is not None:
                charges = charges.paid_into(buckets)
            decision = await self._store.decide(tag, charges, ask)
            if decision.status is not Status.OTHER_PERIOD:
                return charges, decision
            now_ms = decision.now_ms
        raise StoreUnavailable("the store's clock does not stay in one period")

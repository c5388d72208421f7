"""The admission stage for somebody who only looks: the same decisions by the same scripts, no charges."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.admission.charges import Charges
from gateway.admission.concurrency import LOOK, worth_waiting_for
from gateway.admission.decider import Decider
from gateway.admission.fields import granted_lines
from gateway.admission.redis_store import Held, RedisStore
from gateway.admission.refusal import refusal
from gateway.admission.store import Ask, Decision, Status, account_tag
from gateway.admission.subjects import counter_keys
from gateway.errors import AdmissionUnavailable, CountersLost, StoreUnavailable
from gateway.model.exchange import Exchange, Grant
from gateway.model.periods import Calendar
from gateway.model.policies import ChargePlan, ConcurrencyLimit, OnStoreLoss
from gateway.model.principal import Principal

NOBODYS_SLOT = "look"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the counters of a call say. `present` is before the call, `decision` is what it would get.

    `held` is what workers have taken out of each bucket in advance. `queues`: the call would wait for a slot
    of this limit.
    """

    tag: str
    charges: Charges
    present: Decision
    decision: Decision
    held: tuple[Held, ...]
    queues: ConcurrencyLimit | None


class Onlooker:
    """Stands where workers have an `Admitter`. One call each: what was seen stays here."""

    def __init__(self, store: RedisStore) -> None:
        """`store` must be one that only looks."""
        self._store = store
        self.seen: Seen | None = None
        self.lost: str | None = None  # why it can not be said, as a sentence without its end

    async def admit(self, principal: Principal, plan: ChargePlan, exchange: Exchange) -> Grant:
        """What an `Admitter` would say that has nothing bought in advance and in whose line nobody waits."""
        if not plan.limits and not plan.quotas and not plan.concurrency:
            return Grant(principal, plan, b"")
        counters = counter_keys(plan, exchange) if plan.scoped else None
        tag = account_tag(principal.account_id, principal.mode)
        try:
            seen = self.seen = await self._look(tag, principal.calendar, plan, counters)
        except StoreUnavailable as lost:
            self.lost = (
                "Quota counters may have been lost and are being rebuilt from the ledger"
                if isinstance(lost, CountersLost)
                else f"Redis does not answer ({lost})"
            )
            if plan.on_store_loss is OnStoreLoss.REFUSE:
                raise AdmissionUnavailable(internal=str(lost)) from lost
            return Grant(principal, plan, b"", charged=False)
        if seen.decision.status is Status.REFUSED:
            raise refusal(plan, seen.charges, seen.decision)
        return Grant(principal, plan, granted_lines(seen.charges, seen.decision))

    async def _look(self, tag: str, by: Calendar, plan: ChargePlan, counters: tuple[str, ...] | None) -> Seen:
        decider = Decider(self._store)
        _, present = await decider.decide(tag, plan, LOOK, counters, by)
        slot = NOBODYS_SLOT if plan.concurrency else ""
        charges, decision = await decider.decide(tag, plan, Ask(slot=slot), counters, by)
        position = worth_waiting_for(plan, decision)
        queues = None if position is None else plan.concurrency[position]
        held = await self._store.held(tag, charges)
        return Seen(tag, charges, present, decision, held, queues)

    def settle(self, exchange: Exchange) -> None:
        """Nothing was charged, so nothing is given back."""

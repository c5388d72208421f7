"""Calls that need a slot: decided together with all they pay, at once or when their turn comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.admission.decider import Bought, Decider
from gateway.admission.held_slots import Held, HeldSlots
from gateway.admission.store import Ask, Decision, Status, Store, account_tag
from gateway.admission.subjects import slot_set_key
from gateway.admission.turns import Turn, Turns
from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.model.exchange import Exchange
from gateway.model.periods import Calendar
from gateway.model.policies import ChargePlan, OnFull
from gateway.model.principal import Principal
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

LOOK = Ask(calls=0)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call and what it needs. `counters`: keys of a scoped plan's, see `subjects.counter_keys`."""

    plan: ChargePlan
    exchange: Exchange
    by: Calendar
    counters: tuple[str, ...] | None
    held: Held


class Concurrency:
    """Admits the calls of one worker whose plans have concurrency limits."""

    def __init__(
        self, store: Store, decider: Decider, slots: Slots, clock: Clock, tasks: Tasks, holder: str
    ) -> None:
        self._decider = decider
        self._slots = slots
        self._turns = Turns(slots)
        self._held = HeldSlots(store, clock, slots, tasks, holder, self._turns.freed)

    async def admit(
        self, principal: Principal, plan: ChargePlan, exchange: Exchange, counters: tuple[str, ...] | None
    ) -> tuple[Bought, str]:
        """The decision, and what the slots of the call are called if it is admitted: for `release`.

        Raises StoreUnavailable, and why the caller left when it did so while it waited.
        """
        held = self.new(principal, plan, counters)
        call = _Call(plan, exchange, principal.calendar, counters, held)
        position = self._others_wait(call)
        if position is None:
            bought = await self._decide(call)
            position = worth_waiting_for(plan, bought[1])
            if position is None:
                return bought, call.held.name
        return await self._queue(call, position), call.held.name

    def new(self, principal: Principal, plan: ChargePlan, counters: tuple[str, ...] | None) -> Held:
        """Slots that a call needs, and that nobody has given it yet."""
        if counters is None:
            keys = tuple([slot_set_key(limit) for limit in plan.concurrency])
        else:
            keys = counters[len(plan.limits) :]
        return self._held.new(account_tag(principal.account_id, principal.mode), keys)

    def under_way(self, held: Held) -> tuple[int, ...]:
        """How many calls of this worker hold a slot of each of its sets."""
        return tuple([self._held.under_way(counter) for counter in held.counters])

    def take(self, held: Held) -> None:
        """Take slots that the store could not be asked for: it hears of them when they are renewed."""
        self._held.asked(held)
        self._held.take(held)

    def release(self, slot: str) -> None:
        """The call whose slots are called so has ended. Never raises."""
        self._held.release(slot)

    def look(self) -> None:
        """Renew slots that are due."""
        self._held.look()

    async def close(self) -> None:
        """Release every slot."""
        await self._held.close()

    def _others_wait(self, call: _Call) -> int | None:
        """The limit of the plan that others wait for already: nobody overtakes them."""
        for position, counter in enumerate(call.held.counters):
            limit = call.plan.concurrency[position]
            if self._turns.is_awaited(counter) and limit.on_full is OnFull.QUEUE and not limit.shadow:
                return position
        return None

    async def _decide(self, call: _Call) -> Bought:
        self._held.asked(call.held)
        try:
            bought = await self._decider.decide(
                call.held.tag, call.plan, Ask(slot=call.held.name), call.counters, call.by
            )
        except StoreUnavailable as lost:
            if not lost.unsent:
                self._held.drop(call.held)  # they may be ours, and nobody heard
            raise
        if bought[1].status is Status.ADMITTED:
            self._held.take(call.held)
        return bought

    async def _queue(self, call: _Call, position: int) -> Bought:
        counters = call.held.counters
        turn = Turn(call.exchange, call.held.tag, call.plan.concurrency[position].wait_s)
        is_waiting, result, was_last = self._turns.join(counters[position], turn), "full", False
        try:
            while is_waiting:
                result = "left"
                if not await turn.comes():
                    result = "late"
                    break
                result = "failed"
                bought = await self._decide(call)
                next_position = worth_waiting_for(call.plan, bought[1])
                if next_position is None:
                    was_last = _got_last(call.plan, bought[1])
                    result = "admitted" if bought[1].status is Status.ADMITTED else "refused"
                    return bought
                position = next_position
                is_waiting, result = self._turns.wait_on(counters[position], turn), "full"
        finally:
            self._turns.leave(turn, was_last=was_last)
            turn.over()
            self._slots.add("concurrency_waits_total", 1, result)
            waited_s = asyncio.get_running_loop().time() - turn.joined_at
            self._slots.observe_us("concurrency_wait_seconds", int(waited_s * 1_000_000))
        return await self._in_vain(call, position)

    async def _in_vain(self, call: _Call, position: int) -> Bought:
        """A refusal: whatever is free by now is for those who wait."""
        charges, decision = await self._decider.decide(call.held.tag, call.plan, LOOK, call.counters, call.by)
        in_use = list(decision.in_use)
        in_use[position] = max(in_use[position], call.plan.concurrency[position].bound)
        return charges, decision._replace(status=Status.REFUSED, in_use=tuple(in_use))


def worth_waiting_for(plan: ChargePlan, decision: Decision) -> int | None:
    """The limit whose slots are all in use, if that alone refuses the call and its calls may queue."""
    if decision.status is not Status.REFUSED or any(decision.wait_ms):
        return None
    full = [
        position
        for position, (used, limit) in enumerate(zip(decision.in_use, plan.concurrency, strict=True))
        if used >= limit.bound
    ]
    if any(plan.concurrency[position].on_full is OnFull.REFUSE for position in full):
        return None
    return full[0]


def _got_last(plan: ChargePlan, decision: Decision) -> bool:
    return decision.status is Status.ADMITTED and any(
        used >= limit.bound for used, limit in zip(decision.in_use, plan.concurrency, strict=True)
    )

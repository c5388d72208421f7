"""The admission stage: may this call pass, and what is the caller told about his limits."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping

from gateway.admission.charges import Charges
from gateway.admission.concurrency import Concurrency
from gateway.admission.decider import Bought, Decider
from gateway.admission.fields import beyond_line, granted_lines, whole_seconds
from gateway.admission.leases import Lease, Leases
from gateway.admission.local_limits import LocalLimits
from gateway.admission.refunds import Refunds
from gateway.admission.refusal import refusal, units_beyond, would_have_refused
from gateway.admission.store import Decision, Status, Store, account_tag
from gateway.admission.subjects import bucket_key, counter_keys
from gateway.admission.together import Together, Told
from gateway.admission.token_bucket import Flow
from gateway.clock import Clock
from gateway.errors import AdmissionUnavailable, ConcurrencyExceeded, CountersLost, StoreUnavailable
from gateway.inline import Wait
from gateway.model.exchange import NOTHING, Exchange, Grant, HoldingGrant
from gateway.model.policies import AdmissionMode, ChargePlan, OnStoreLoss
from gateway.model.principal import Mode, Principal
from gateway.model.usage import Marks, billable
from gateway.outcomes import Outcome
from gateway.tasks import Tasks
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.admission")

UPKEEP_EVERY_S = 0.1
SETTLED_US = 1_000_000
"""An outage is over when calls are decided and none has failed for so long."""


class Admitter:
    """Decides every call of one worker: from a lease in hand if there is one, else by the store."""

    def __init__(
        self,
        store: Store,
        slots: Slots,
        clock: Clock,
        tasks: Tasks,
        worker_id: str | int,
        *,
        workers: int = 1,
    ) -> None:
        """`workers`: how many share the limits while the store is gone."""
        self._slots, self._cells = slots, slots.cells
        self._named_slots: dict[tuple[str, str], int] = {}
        self._leased_slot = slot("admission_leased_total")
        self._refused_locally_slot = slot("admission_local_refusals_total")
        self._full_slot = slot("concurrency_refused_total")
        self._lost_slots = {
            action: slot("admission_store_lost_total", action.value) for action in OnStoreLoss
        }
        self._monotonic_us = clock.monotonic_us
        self._tasks = tasks
        self._store_now_ms = store.now_ms
        self._local = LocalLimits(workers)
        self._decider = Decider(store)
        self._together = Together(self._decider)
        self._refunds = Refunds(store, self._wake)
        # Another worker may be called the same, on another machine or after a crash: its holds are not ours.
        holder = f"{worker_id}-{secrets.token_hex(4)}"
        self._leases = Leases(store, self._decider, self._refunds, clock, holder, self._wake)
        self._concurrency = Concurrency(store, self._decider, slots, clock, tasks, holder)
        self._live, self._test = self._leases.live, self._leases.test
        self._work = asyncio.Event()
        self._upkeep: asyncio.Task[None] | None = None
        self._lost_at_us: int | None = None  # the last call that the store refused to decide
        self._closed = False

    async def admit(self, principal: Principal, plan: ChargePlan, exchange: Exchange) -> Grant:
        """Charge the call. Raises RateLimited, QuotaExceeded or ConcurrencyExceeded; AdmissionUnavailable
        when nobody can say; and why the caller left, when it did so while its call was queued.
        """
        leases = self._live if principal.mode is Mode.LIVE else self._test
        lease = leases.get((principal.account_id, plan.id))
        if lease is not None and lease.calls and self._monotonic_us() < lease.expires_us:
            return self._take(lease, principal, plan)
        if plan.concurrency:
            return await self._admit_with_slots(principal, plan, exchange)
        if not plan.limits and not plan.quotas:
            return Grant(principal, plan, b"")
        buckets = counter_keys(plan, exchange) if plan.scoped else None
        return await self._admit_by_store(principal, plan, buckets, exchange)

    def _take(self, lease: Lease, principal: Principal, plan: ChargePlan) -> Grant:
        lease.calls = calls = lease.calls - 1
        if calls < lease.low and not self._closed:
            lease.calendar = principal.calendar
            self._leases.buy(lease, 0)  # nobody waits for it
        self._cells[self._leased_slot] += 1
        return Grant(principal, plan, lease.header(), periods=lease.periods)

    async def _admit_by_store(
        self, principal: Principal, plan: ChargePlan, buckets: tuple[str, ...] | None, exchange: Exchange
    ) -> Grant:
        try:
            if plan.mode is AdmissionMode.EXACT or self._closed:
                told = await self._together.decide(_tag(principal), plan, buckets, principal.calendar)
            else:
                lease = self._leases.open(principal, plan, buckets)
                if lease.calls and self._monotonic_us() < lease.expires_us:
                    return self._take(lease, principal, plan)
                if await self._restocked(lease):
                    return self._take(lease, principal, plan)
                told = await self._buy(lease)
        except StoreUnavailable as lost:
            return self._undecided(principal, plan, buckets, lost)
        charges, decision, lines = told
        self._decided(principal, plan, (charges, decision), exchange)
        if not any(decision.wait_ms) or not (beyond := self._beyond(charges, decision)):
            return Grant(principal, plan, lines, periods=charges.periods)
        return Grant(principal, plan, lines + beyond_line(beyond), periods=charges.periods, beyond=beyond)

    async def _admit_with_slots(self, principal: Principal, plan: ChargePlan, exchange: Exchange) -> Grant:
        counters = counter_keys(plan, exchange) if plan.scoped else None
        try:
            bought, slot_name = await self._concurrency.admit(principal, plan, exchange, counters)
        except StoreUnavailable as lost:
            return self._undecided(principal, plan, counters, lost)
        self._decided(principal, plan, bought, exchange)
        charges, decision = bought
        lines, beyond = granted_lines(charges, decision), NOTHING
        if any(decision.wait_ms) and (beyond := self._beyond(charges, decision)):
            lines += beyond_line(beyond)
        return HoldingGrant(principal, plan, lines, periods=charges.periods, slot=slot_name, beyond=beyond)

    def _decided(self, principal: Principal, plan: ChargePlan, bought: Bought, exchange: Exchange) -> None:
        """The store has answered; raises what a refused caller is told."""
        if self._lost_at_us is not None and self._monotonic_us() - self._lost_at_us > SETTLED_US:
            self._lost_at_us = None
            log.info("limits are decided again")
        charges, decision = bought
        if plan.on_store_loss is OnStoreLoss.LOCAL:
            self._local.learn(_tag(principal), charges, decision)
        if decision.status is Status.REFUSED:
            error = refusal(plan, charges, decision, _later_ms(plan))
            if isinstance(error, ConcurrencyExceeded):
                self._cells[self._full_slot] += 1
            raise error
        if any(decision.wait_ms) or decision.in_use:
            shadows = would_have_refused(charges, decision)
            if shadows:
                exchange.marks = Marks(shadows=shadows)
                for name in shadows:
                    self._count("shadow_refusals_total", name)

    def _beyond(self, charges: Charges, decision: Decision) -> Mapping[str, int]:
        """Units beyond quotas that let an admitted call pass all the same."""
        beyond = units_beyond(charges, decision)
        for name in beyond:
            self._count("quota_beyond_total", name)
        return beyond

    def _count(self, metric: str, name: str) -> None:
        place = self._named_slots.get((metric, name))
        if place is None:
            place = self._named_slots[metric, name] = self._slots.named(metric, name)
        self._cells[place] += 1

    async def _restocked(self, lease: Lease) -> bool:
        """Wait for the purchase under way if it is likely to bring enough for everybody who waits."""
        if lease.buying and len(lease.waiting) < lease.wanted // 2:
            wait: Wait[None] = Wait()
            lease.waiting.append(wait)
            await wait
        return lease.calls > 0 and self._monotonic_us() < lease.expires_us

    async def _buy(self, lease: Lease) -> Told:
        if lease.buying:
            return await self._together.decide(lease.tag, lease.plan, lease.buckets, lease.calendar)
        charges, decision = await self._leases.buy(lease, 1)
        is_admitted = decision.status is Status.ADMITTED
        return charges, decision, granted_lines(charges, decision) if is_admitted else b""

    def _undecided(
        self,
        principal: Principal,
        plan: ChargePlan,
        buckets: tuple[str, ...] | None,
        lost: StoreUnavailable,
    ) -> Grant:
        """The store is gone: do what the policy says about that."""
        action = plan.on_store_loss
        self._cells[self._lost_slots[action]] += 1
        if not (lost.told or isinstance(lost, CountersLost)):  # those are in the log already
            self._complain(lost)
        if action is OnStoreLoss.ALLOW:
            return Grant(principal, plan, b"", charged=False)
        if action is OnStoreLoss.LOCAL:
            return self._decide_locally(principal, plan, buckets)
        retry_after = b"Retry-After: %d\r\n" % whole_seconds(1000 + _later_ms(plan))
        raise AdmissionUnavailable(internal=str(lost), headers=retry_after) from lost

    def _complain(self, lost: StoreUnavailable) -> None:
        """Once per outage: while some calls fail and some do not, it lasts."""
        if self._lost_at_us is None:
            log.error(
                "limits can not be decided; calls are treated as on_store_loss says",
                extra={"error": str(lost)},
            )
        self._lost_at_us = self._monotonic_us()

    def _decide_locally(
        self, principal: Principal, plan: ChargePlan, buckets: tuple[str, ...] | None
    ) -> Grant:
        now_ms, by = self._store_now_ms(), principal.calendar
        held = self._concurrency.new(principal, plan, buckets) if plan.concurrency else None
        under_way = () if held is None else self._concurrency.under_way(held)
        local = self._local.decide(_tag(principal), plan, buckets, now_ms, by, under_way=under_way)
        if local.decision.status is Status.REFUSED:
            self._cells[self._refused_locally_slot] += 1
            raise refusal(local.plan, local.charges, local.decision, _later_ms(plan))
        if held is None:
            return Grant(principal, plan, b"", charged=False)
        self._concurrency.take(held)
        return HoldingGrant(principal, plan, b"", slot=held.name, charged=False)

    def settle(self, exchange: Exchange) -> None:
        """Release the slots of a call, and set right what it paid into quotas, and into limits on meters.

        An unbilled call pays nothing into these, one whose route says so what it turned out to cost. Tokens
        of other limits stay spent. Never raises.
        """
        outcome, grant = exchange.outcome, exchange.grant
        if type(grant) is HoldingGrant:
            self._concurrency.release(grant.slot)
        due = exchange.due
        if (outcome is Outcome.SERVED and due is None) or grant is None or not grant.charged:
            return
        if due is None:
            if outcome is not None and billable(outcome, exchange.status):
                return
            due = NOTHING
        tag = _tag(grant.principal)
        for (quota, cost), counter in zip(grant.plan.quotas, grant.periods.counters, strict=False):
            self._refunds.add(tag, counter, cost - due.get(quota.meter, 0))
        if grant.plan.metered:
            self._settle_buckets(tag, grant.plan, exchange, due)
        if due:  # a large reserve must not keep others waiting, nor a large cost let others pass
            self._refunds.flush_account(tag)

    def _settle_buckets(self, tag: str, plan: ChargePlan, exchange: Exchange, due: Mapping[str, int]) -> None:
        keys = counter_keys(plan, exchange) if plan.scoped else tuple(map(bucket_key, plan.limits))
        for limit, key in zip(plan.limits, keys, strict=False):
            if limit.meter:
                back = plan.tokens(limit) - due.get(limit.meter, 0)
                self._refunds.add_tokens(tag, key, Flow.of(limit), back)

    def look_after_slots(self) -> None:
        """Renew the slots of calls that last, and release what could not be released before."""
        self._concurrency.look()

    def upkeep(self) -> None:
        """Give back what expired and send refunds."""
        self._refunds.flush()
        self._leases.expire(self._monotonic_us())
        if not len(self._refunds) and not len(self._leases):
            self._work.clear()

    def _wake(self) -> None:
        self._work.set()
        if self._upkeep is None and not self._closed:
            self._upkeep = self._tasks.spawn(self._keep_up(), name="admission.upkeep")

    async def _keep_up(self) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(UPKEEP_EVERY_S)
            self.upkeep()

    async def close(self) -> None:
        """Give back every lease, slot and refund. Calls admitted afterwards are decided one by one."""
        self._closed = True
        if self._upkeep is not None:
            self._upkeep.cancel()
        await self._leases.close()
        await self._concurrency.close()
        await self._refunds.close()


def _later_ms(plan: ChargePlan) -> int:
    """How much longer than needed a refused caller is told to wait; each another, or all come at once."""
    return secrets.randbelow(plan.retry_jitter_ms + 1) if plan.retry_jitter_ms else 0


def _tag(principal: Principal) -> str:
    return account_tag(principal.account_id, principal.mode)

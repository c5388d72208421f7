"""Limits while the store is gone: this worker's part of them, kept in this process.

Each limit is divided by the workers that share it, so that all together let pass no more than it says; a
burst below their number leaves one token for each. What was left of it is not known here: buckets begin full.

A quota is divided too, by what was left of it when this worker last heard of it: its part of that, less one
call for what others took since, and no more until its period ends. All workers together give out no more
than was left when that one heard of it that heard longest ago. A quota of which a worker has not heard lets
calls pass unchecked.

Calls at once are divided like bursts. Those that this worker admitted count, before and since; it renews
their slots, so the store counts them as soon as it is back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.admission import token_bucket
from gateway.admission.charges import PLANS_MAX, Charges
from gateway.admission.store import Decision, Status, counter_name
from gateway.admission.token_bucket import Bucket, Flow
from gateway.model.periods import IN_UTC, Calendar
from gateway.model.policies import ChargePlan, Limit

BUCKETS_MAX = 65_536
"""Buckets of one worker, the last used ones: some 20 MB. One that is forgotten is full again."""
QUOTAS_MAX = 65_536
"""Quotas of which something is known, the last heard ones: some 20 MB."""


@dataclass(slots=True)
class _Heard:
    """Units of a quota used when the store was last heard, the end of its period, units spent here since."""

    used: int
    end_ms: int
    spent: int = 0


class _Part(NamedTuple):
    """The limits of a plan, without its quotas, and one worker's part of each. `most`: calls at once."""

    charges: Charges
    flows: tuple[Flow, ...]
    most: tuple[int, ...]


class Local(NamedTuple):
    """A decision and what it is about: the limits, or those quotas that refuse."""

    plan: ChargePlan
    charges: Charges
    decision: Decision


class LocalLimits:
    """Decides calls of one of `workers` without a store. Bounded in memory; never waits."""

    def __init__(self, workers: int, *, buckets_max: int = BUCKETS_MAX) -> None:
        self._workers = workers
        self._buckets_max = buckets_max
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._heard: OrderedDict[str, _Heard] = OrderedDict()
        self._parts: dict[str, _Part] = {}

    def learn(self, tag: str, charges: Charges, decision: Decision) -> None:
        """Remember what the store says about quotas, for the time when it says nothing."""
        lefts = decision.left[len(charges.limits) :]
        for charge, left in zip(charges.quotas, lefts, strict=True):
            name = counter_name(tag, charge.key)
            self._heard[name] = _Heard(charge.quota.amount - left, charge.span.end_s * 1000)
            self._heard.move_to_end(name)
        while len(self._heard) > QUOTAS_MAX:
            self._heard.popitem(last=False)

    def decide(
        self,
        tag: str,
        plan: ChargePlan,
        buckets: tuple[str, ...] | None,
        now_ms: int,
        by: Calendar = IN_UTC,
        *,
        under_way: tuple[int, ...] = (),
    ) -> Local:
        """Take a call's tokens from this worker's part of all limits, or say how long to wait.

        `by`: how the account's periods are counted. `under_way`: calls of this worker in each set of slots.
        """
        paid: list[tuple[_Heard, int]] = []
        if self._heard and plan.quotas:
            short, paid = self._short_of(tag, plan, now_ms, by)
            if short is not None:
                return short
        part = self._parts.get(plan.id) or self._divide(plan)
        keys = part.charges.keys if buckets is None else _of_enforced(plan, buckets)
        names = [counter_name(tag, key) for key in keys]
        limits = part.charges.limits
        costs = [min(plan.tokens(one), flow.burst) for one, flow in zip(limits, part.flows, strict=True)]
        after = [self._bucket(name, flow, now_ms) for name, flow in zip(names, part.flows, strict=True)]
        waits = tuple(
            token_bucket.wait_ms(bucket, flow, cost, now_ms)
            for bucket, flow, cost in zip(after, part.flows, costs, strict=True)
        )
        in_use = tuple(
            limit.bound if calls >= most else calls
            for limit, calls, most in zip(plan.concurrency, under_way, part.most, strict=False)
        )
        is_full = any(used >= limit.bound for used, limit in zip(in_use, plan.concurrency, strict=False))
        status = Status.REFUSED if is_full or any(waits) else Status.ADMITTED
        if status is Status.ADMITTED:
            after = [token_bucket.take(bucket, cost) for bucket, cost in zip(after, costs, strict=True)]
            self._keep(names, after)
            for heard, cost in paid:
                heard.spent += cost
        decision = Decision(status, now_ms, 0, tuple(bucket.tokens for bucket in after), waits, in_use)
        return Local(plan, part.charges, decision)

    def _short_of(
        self, tag: str, plan: ChargePlan, now_ms: int, by: Calendar
    ) -> tuple[Local | None, list[tuple[_Heard, int]]]:
        """The refusal by quotas of which too little is left here, if any; what to take off the others."""
        refusing, lefts, paid = [], [], []
        for priced, charge in zip(plan.quotas, Charges(plan, now_ms, by).quotas, strict=True):
            heard = self._heard.get(counter_name(tag, charge.key))
            if heard is None or not priced[0].refuses or now_ms >= heard.end_ms:
                continue
            left = priced[0].amount - heard.used
            if self._part_of_units(left, charge.cost) - heard.spent < charge.cost:
                refusing.append(priced)
                lefts.append(left)
            else:
                paid.append((heard, charge.cost))
        if not refusing:
            return None, paid
        asked = replace(plan, limits=(), quotas=tuple(refusing), concurrency=())
        charges = Charges(asked, now_ms, by)
        waits = tuple(charge.span.end_s * 1000 - now_ms for charge in charges.quotas)
        return Local(asked, charges, Decision(Status.REFUSED, now_ms, 0, tuple(lefts), waits)), paid

    def _part_of_units(self, left: int, cost: int) -> int:
        return left if self._workers == 1 else left // self._workers - cost

    def _divide(self, plan: ChargePlan) -> _Part:
        limits = tuple(limit for limit in plan.limits if not limit.shadow)
        charges = Charges(replace(plan, limits=limits, quotas=()), 0)
        flows = tuple(Flow.of(self._part_of(limit)) for limit in limits)
        most = tuple(max(1, limit.bound // self._workers) for limit in plan.concurrency)
        if len(self._parts) >= PLANS_MAX:
            self._parts.clear()
        part = self._parts[plan.id] = _Part(charges, flows, most)
        return part

    def _part_of(self, limit: Limit) -> Limit:
        burst = max(1, limit.burst // self._workers)
        return replace(limit, period_ms=limit.period_ms * self._workers, burst=burst)

    def _bucket(self, name: str, flow: Flow, now_ms: int) -> Bucket:
        bucket = self._buckets.get(name) or token_bucket.full(flow, now_ms)
        return token_bucket.refill(bucket, flow, now_ms)

    def _keep(self, names: list[str], buckets: list[Bucket]) -> None:
        for name, bucket in zip(names, buckets, strict=True):
            self._buckets[name] = bucket
            self._buckets.move_to_end(name)
        while len(self._buckets) > self._buckets_max:
            self._buckets.popitem(last=False)


def _of_enforced(plan: ChargePlan, buckets: tuple[str, ...]) -> tuple[str, ...]:
    """The buckets of limits that are no shadows: shadows are not decided here."""
    return tuple(bucket for limit, bucket in zip(plan.limits, buckets, strict=False) if not limit.shadow)

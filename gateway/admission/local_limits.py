"""Limits while the store is gone: this worker's part of them, kept in this process.

Each limit is divided by the workers that share it, so that all together let pass no more than it says; a
burst below their number leaves one token for each. What was left of it is not known here: buckets begin full.

Quotas can not be divided, for nobody knows what is left of them. The rule: a quota that could not pay for
such a call when the store was last heard refuses until its period ends; any other lets it pass unchecked.
Slots of calls at once are not counted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
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
"""Quotas known to be short, the last seen ones."""


class _Short(NamedTuple):
    """A quota that refused: units used when the store was last heard, and when its period ends."""

    used: int
    end_ms: int


class _Part(NamedTuple):
    """The limits of a plan, without its quotas, and one worker's part of each."""

    charges: Charges
    flows: tuple[Flow, ...]


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
        self._short: OrderedDict[str, _Short] = OrderedDict()
        self._parts: dict[str, _Part] = {}

    def learn(self, tag: str, charges: Charges, decision: Decision) -> None:
        """Remember what the store says about quotas, for the time when it says nothing."""
        if decision.status is Status.ADMITTED and not self._short:
            return
        lefts = decision.left[len(charges.limits) :]
        for charge, left in zip(charges.quotas, lefts, strict=True):
            name = counter_name(tag, charge.key)
            self._short.pop(name, None)
            if decision.status is Status.REFUSED and left < charge.cost:
                self._short[name] = _Short(charge.quota.amount - left, charge.span.end_s * 1000)
                if len(self._short) > QUOTAS_MAX:
                    self._short.popitem(last=False)

    def decide(
        self,
        tag: str,
        plan: ChargePlan,
        buckets: tuple[str, ...] | None,
        now_ms: int,
        by: Calendar = IN_UTC,
    ) -> Local:
        """Take a call's tokens from this worker's part of all limits, or say how long to wait.

        `by`: how the account's periods are counted.
        """
        if self._short and plan.quotas:
            short = self._short_of(tag, plan, now_ms, by)
            if short is not None:
                return short
        part = self._parts.get(plan.id) or self._divide(plan)
        keys = part.charges.keys if buckets is None else _of_enforced(plan, buckets)
        names = [counter_name(tag, key) for key in keys]
        costs = [min(plan.cost, flow.burst) for flow in part.flows]
        after = [self._bucket(name, flow, now_ms) for name, flow in zip(names, part.flows, strict=True)]
        waits = tuple(
            token_bucket.wait_ms(bucket, flow, cost, now_ms)
            for bucket, flow, cost in zip(after, part.flows, costs, strict=True)
        )
        status = Status.REFUSED if any(waits) else Status.ADMITTED
        if status is Status.ADMITTED:
            after = [token_bucket.take(bucket, cost) for bucket, cost in zip(after, costs, strict=True)]
            self._keep(names, after)
        decision = Decision(status, now_ms, 0, tuple(bucket.tokens for bucket in after), waits)
        return Local(plan, part.charges, decision)

    def _short_of(self, tag: str, plan: ChargePlan, now_ms: int, by: Calendar) -> Local | None:
        """The refusal by quotas that were used up before, if there are any."""
        refusing, lefts = [], []
        for paid, charge in zip(plan.quotas, Charges(plan, now_ms, by).quotas, strict=True):
            known = self._short.get(counter_name(tag, charge.key))
            if (
                known is not None
                and not paid[0].shadow
                and now_ms < known.end_ms
                and paid[0].amount - known.used < charge.cost
            ):
                refusing.append(paid)
                lefts.append(paid[0].amount - known.used)
        if not refusing:
            return None
        asked = replace(plan, limits=(), quotas=tuple(refusing), concurrency=())
        charges = Charges(asked, now_ms, by)
        waits = tuple(charge.span.end_s * 1000 - now_ms for charge in charges.quotas)
        return Local(asked, charges, Decision(Status.REFUSED, now_ms, 0, tuple(lefts), waits))

    def _divide(self, plan: ChargePlan) -> _Part:
        limits = tuple(limit for limit in plan.limits if not limit.shadow)
        charges = Charges(replace(plan, limits=limits, quotas=(), concurrency=()), 0)
        flows = tuple(Flow.of(self._part_of(limit)) for limit in limits)
        if len(self._parts) >= PLANS_MAX:
            self._parts.clear()
        part = self._parts[plan.id] = _Part(charges, flows)
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

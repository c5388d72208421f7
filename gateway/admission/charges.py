"""What one call pays into, with periods and arguments worked out: once per plan and period, not per call."""

from __future__ import annotations

from gateway.admission.period import Span, period_at
from gateway.admission.subjects import bucket_key, slot_set_key
from gateway.admission.token_bucket import Flow
from gateway.model.policies import ChargePlan, Limit, Period, Quota

NEVER_MS = 1 << 62
PLANS_MAX = 4096
"""Plans remembered. There are as many as tiers times kinds of routes; reloads add and this ends it."""


class QuotaCharge:
    """`cost` units of `quota` in the period `span`. `key` is its counter below the account's."""

    __slots__ = ("cost", "key", "quota", "span")

    def __init__(self, quota: Quota, cost: int, now_us: int) -> None:
        self.quota = quota
        self.cost = cost
        self.span: Span = period_at(quota.per, now_us)
        self.key = quota_key(quota, self.span.start_s)


def quota_key(quota: Quota, start_s: int) -> str:
    """The name of the counter of `quota` in the period that starts at `start_s`, below the account's tag."""
    return period_key(quota.meter, quota.per, start_s)


def period_key(meter: str, per: Period, start_s: int) -> str:
    """The same by what the quota counts: two quotas on one meter and kind of period share a counter."""
    return f"q:{meter}:{per.value}:{start_s}"


class Charges:
    """All charges of a call under `plan` in the present periods: buckets first, then quotas.

    `keys` and `numbers` are the keys (see `store.counter_name`) and the arguments of the scripts; `sizes`
    are bursts and amounts; `periods` are the starts of the quotas' periods in epoch seconds; `shown` are the
    positions of those that are no shadows.
    """

    __slots__ = (
        "concurrency",
        "costs",
        "ends_ms",
        "fields",
        "flows",
        "keys",
        "limits",
        "most",
        "names",
        "numbers",
        "periods",
        "policy_line",
        "quotas",
        "shadows",
        "shown",
        "sizes",
        "slot_keys",
        "starts_ms",
    )

    def __init__(self, plan: ChargePlan, now_ms: int) -> None:
        self.limits: tuple[Limit, ...] = plan.limits
        self.flows = tuple(Flow.of(limit) for limit in plan.limits)
        self.quotas = tuple(QuotaCharge(quota, cost, now_ms * 1000) for quota, cost in plan.quotas)
        self.names = (
            *(limit.name for limit in self.limits),
            *(charge.quota.name for charge in self.quotas),
        )
        # A call that is dearer than a bucket is large takes all of it: it may wait, but not for ever.
        self.costs = (
            *(min(plan.cost, limit.burst) for limit in self.limits),
            *(charge.cost for charge in self.quotas),
        )
        self.keys = (
            *(bucket_key(limit) for limit in self.limits),
            *(charge.key for charge in self.quotas),
        )
        self.sizes = (
            *(limit.burst for limit in self.limits),
            *(charge.quota.amount for charge in self.quotas),
        )
        self.shadows = (
            *(limit.shadow for limit in self.limits),
            *(charge.quota.shadow for charge in self.quotas),
        )
        self.shown = tuple(one for one, shadow in enumerate(self.shadows) if not shadow)
        self.concurrency = plan.concurrency
        self.slot_keys = tuple(slot_set_key(limit) for limit in plan.concurrency)
        self.most = tuple(limit.bound for limit in plan.concurrency)
        self.numbers = self._numbers()
        self.fields = plan.fields
        self.policy_line = plan.policy_header
        self.periods = tuple(charge.span.start_s for charge in self.quotas)
        self.starts_ms = max((charge.span.start_s * 1000 for charge in self.quotas), default=0)
        self.ends_ms = min((charge.span.end_s * 1000 for charge in self.quotas), default=NEVER_MS)

    def _numbers(self) -> tuple[int, ...]:
        numbers: list[int] = []
        signed = [-cost if shadow else cost for shadow, cost in zip(self.shadows, self.costs, strict=True)]
        for flow, cost in zip(self.flows, signed, strict=False):
            numbers += (flow.tokens, flow.period_ms, flow.burst, cost)
        for charge, cost in zip(self.quotas, signed[len(self.flows) :], strict=True):
            numbers += (
                charge.quota.amount,
                cost,
                charge.span.start_s * 1000,
                charge.span.end_s * 1000,
            )
        return tuple(numbers)

    def paid_into(self, counters: tuple[str, ...]) -> Charges:
        """The same charges of a call whose buckets, and then sets of slots, have these keys."""
        other = object.__new__(Charges)
        for name in Charges.__slots__:
            setattr(other, name, getattr(self, name))
        first_quota = len(self.limits)
        other.keys = counters[:first_quota] + self.keys[first_quota:]
        other.slot_keys = counters[first_quota:]
        return other


class ChargesByPlan:
    """The charges of each plan in use, made anew when a period ends."""

    def __init__(self) -> None:
        self._known: dict[str, Charges] = {}

    def at(self, plan: ChargePlan, now_ms: int) -> Charges:
        """The charges of `plan` at `now_ms`."""
        charges = self._known.get(plan.id)
        if charges is None or not charges.starts_ms <= now_ms < charges.ends_ms:
            if len(self._known) >= PLANS_MAX:
                self._known.clear()
            charges = self._known[plan.id] = Charges(plan, now_ms)
        return charges

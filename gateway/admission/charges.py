"""What one call pays into, with periods and arguments worked out: once per plan and period, not per call."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gateway.admission.period import Span, period_at
from gateway.admission.subjects import bucket_key, slot_set_key
from gateway.admission.thresholds import marks, thresholds_of
from gateway.admission.token_bucket import Flow
from gateway.model.exchange import Periods
from gateway.model.periods import IN_UTC, Calendar, Period
from gateway.model.policies import ChargePlan, Limit, Quota

NEVER_MS = 1 << 62
PLANS_MAX = 4096
"""Plans remembered. There are as many as tiers times kinds of routes; reloads add and this ends it."""
CHARGES_MAX = 16_384
"""Charges remembered, some 2 kB each: of as many plans, by the calendars of accounts that have their own."""


class QuotaCharge:
    """`cost` units of `quota` in the period `span`. `key` is its counter below the account's."""

    __slots__ = ("cost", "first_mark", "key", "marks", "quota", "span", "thresholds")

    def __init__(self, quota: Quota, cost: int, now_us: int, by: Calendar) -> None:
        self.quota = quota
        self.cost = cost
        self.span: Span = period_at(quota.per, now_us, by)
        self.key = period_key(quota.meter, quota.per, self.span)
        self.thresholds = thresholds_of(quota)
        self.first_mark, self.marks = marks(quota.name, self.thresholds)


def period_key(meter: str, per: Period, span: Span) -> str:
    """The name of a counter, below the account's tag: by what it counts, not by how much there may be.

    The end is left out where the start tells it: of periods in UTC that no anchor moved.
    """
    name = f"q:{meter}:{per.key}:{span.start_s}"
    return name if period_at(per, span.start_s * 1_000_000) == span else f"{name}-{span.end_s}"


class Charges:
    """All charges of a call under `plan` in the present periods: buckets first, then quotas.

    `keys` are those of `store.counter_name`; `packed` and `marks` are what `admit.lua` is told, `told` is how
    many numbers it answers; `sizes` are bursts and amounts; `periods` are those of the quotas; `shown` are
    the positions of those that are no shadows.
    """

    __slots__ = (
        "concurrency",
        "costs",
        "ends_ms",
        "fields",
        "flows",
        "forms",
        "keys",
        "lenient",
        "limits",
        "marks",
        "most",
        "names",
        "packed",
        "periods",
        "policy_line",
        "quotas",
        "shadows",
        "shown",
        "sizes",
        "slot_keys",
        "starts_ms",
        "told",
        "windows",
    )

    def __init__(self, plan: ChargePlan, now_ms: int, by: Calendar = IN_UTC) -> None:
        self.limits: tuple[Limit, ...] = plan.limits
        self.flows = tuple(Flow.of(limit) for limit in plan.limits)
        self.quotas = tuple(QuotaCharge(quota, cost, now_ms * 1000, by) for quota, cost in plan.quotas)
        self.names = (
            *(limit.name for limit in self.limits),
            *(charge.quota.name for charge in self.quotas),
        )
        self.costs = (
            *(plan.tokens(limit) for limit in self.limits),
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
        self.lenient = (  # what they can not pay refuses nothing
            *self.shadows[: len(self.limits)],
            *(not charge.quota.refuses for charge in self.quotas),
        )
        self.shown = tuple(one for one, shadow in enumerate(self.shadows) if not shadow)
        self.concurrency = plan.concurrency
        self.slot_keys = tuple(slot_set_key(limit) for limit in plan.concurrency)
        self.most = tuple(limit.bound for limit in plan.concurrency)
        self._tell()
        self.fields = plan.fields
        self.forms: dict[tuple[int, ...], bytes] = {}  # of `fields.py`
        self.policy_line = plan.policy_header
        self.starts_ms = max((charge.span.start_s * 1000 for charge in self.quotas), default=0)
        self.windows = tuple(self._window(one) for one in self.shown)
        self.ends_ms = min((charge.span.end_s * 1000 for charge in self.quotas), default=NEVER_MS)
        counters = tuple(charge.key for charge in self.quotas)
        self.periods = Periods(counters, self.starts_ms * 1000, self.ends_ms * 1000)

    def _window(self, position: int) -> tuple[int, bool, int, int, int]:
        """What `fields` computes with: position, whether it is lenient, cost of a call that costs something;
        of a bucket the ms in which its flow brings tokens, and these times 1000; of a quota 0 and its end.
        """
        about = position, self.lenient[position], self.costs[position] or 1
        if position < len(self.flows):
            flow = self.flows[position]
            return *about, flow.period_ms, flow.tokens * 1000
        return *about, 0, self.quotas[position - len(self.flows)].span.end_s * 1000

    def _tell(self) -> None:
        """What of these charges is the same for all calls, as `admit.lua` reads it."""
        numbers: list[int] = []
        signed = [-cost if lenient else cost for lenient, cost in zip(self.lenient, self.costs, strict=True)]
        for flow, cost in zip(self.flows, signed, strict=False):
            numbers += (flow.tokens, flow.period_ms, flow.burst, cost)
        for charge, cost in zip(self.quotas, signed[len(self.flows) :], strict=True):
            period = charge.span.start_s * 1000, charge.span.end_s * 1000
            numbers += (charge.quota.amount, cost, *period, charge.first_mark)
        numbers += self.most
        self.packed = struct.pack(f"<{len(numbers)}d", *numbers)
        self.marks = tuple(charge.marks for charge in self.quotas)
        self.told = 3 + 2 * len(self.keys) + len(self.most)

    def paid_into(self, counters: tuple[str, ...]) -> Charges:
        """The same charges of a call whose buckets, and then sets of slots, have these keys."""
        other = object.__new__(Charges)
        for name in Charges.__slots__:
            setattr(other, name, getattr(self, name))
        first_quota = len(self.limits)
        other.keys = counters[:first_quota] + self.keys[first_quota:]
        other.slot_keys = counters[first_quota:]
        return other

    def of(self, limits: Sequence[int], sets: Sequence[int], *, quotas: bool) -> Charges:
        """A part of these charges: limits and concurrency limits at these positions, all quotas or none.

        What the store needs of it, and no more: nobody is told of a part alone.
        """
        other = self.paid_into((*self.keys[: len(self.limits)], *self.slot_keys))
        first = len(self.limits)
        other.limits = tuple([self.limits[one] for one in limits])
        other.flows = tuple([self.flows[one] for one in limits])
        other.quotas = self.quotas if quotas else ()
        after = slice(first, None if quotas else first)
        other.costs = (*[self.costs[one] for one in limits], *self.costs[after])
        other.lenient = (*[self.lenient[one] for one in limits], *self.lenient[after])
        other.keys = (*[self.keys[one] for one in limits], *self.keys[after])
        other.slot_keys = tuple([self.slot_keys[one] for one in sets])
        other.most = tuple([self.most[one] for one in sets])
        other._tell()
        return other


class ChargesByPlan:
    """The charges of each plan in use by each calendar, made anew when a period ends."""

    def __init__(self) -> None:
        self._known: dict[str | tuple[str, Calendar], Charges] = {}

    def at(self, plan: ChargePlan, now_ms: int, by: Calendar = IN_UTC) -> Charges:
        """The charges of `plan` at `now_ms`, for an account with this calendar."""
        key = plan.id if by is IN_UTC or not plan.quotas else (plan.id, by)
        charges = self._known.get(key)
        if charges is None or not charges.starts_ms <= now_ms < charges.ends_ms:
            while len(self._known) >= CHARGES_MAX:
                del self._known[next(iter(self._known))]
            charges = self._known[key] = Charges(plan, now_ms, by)
        return charges

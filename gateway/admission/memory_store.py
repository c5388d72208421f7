"""Counters in this process: the exact twin of the scripts, for tests and for one worker alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from gateway.admission import token_bucket
from gateway.admission.charges import Charges
from gateway.admission.slices import bucket_slice, quota_slice
from gateway.admission.slot_set import SlotSet, in_use, kept, released
from gateway.admission.store import NO_TOKENS, Ask, Decision, SlotNames, Status, Tokens, counter_name
from gateway.admission.thresholds import Highest, Reached, Told, reached_beyond
from gateway.admission.token_bucket import HOLD_MS, Bucket, Flow, Hold
from gateway.clock import Clock

AFTER_PERIOD_MS = 3_600_000
COUNTER_MAX = (1 << 52) - 1
SWEEP_EVERY = 4096
"""Decisions between two looks for counters that no longer matter."""


@dataclass(slots=True)
class _Counter:
    used: int
    keep_until_ms: int


class MemoryStore:
    """A store that nobody shares. Never unavailable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[Bucket, Flow]] = {}
        self._counters: dict[str, _Counter] = {}
        self._slots: dict[str, SlotSet] = {}
        self._told: dict[str, Highest] = {}
        self.reached: dict[Reached, Told] = {}  # and not yet fetched
        self._decisions = 0

    def now_ms(self) -> int:
        return self._clock.now_us() // 1000

    async def decide(self, tag: str, charges: Charges, ask: Ask) -> Decision:
        """See `admit.lua`, step for step."""
        now_ms = self.now_ms()
        self._forget(now_ms)
        if not charges.starts_ms <= now_ms < charges.ends_ms:
            return Decision(Status.OTHER_PERIOD, now_ms, 0, (), ())
        one = min(ask.calls, 1)
        buckets = self._refilled(tag, charges, now_ms)
        remaining = [charge.quota.amount - self._used(tag, charge.key, now_ms) for charge in charges.quotas]
        waits = [
            token_bucket.wait_ms(bucket, flow, one * cost, now_ms)
            for bucket, flow, cost in zip(buckets, charges.flows, charges.costs, strict=False)
        ]
        for left, charge in zip(remaining, charges.quotas, strict=True):
            short = one * charge.cost > 0 and left < charge.cost
            waits.append(charge.span.end_s * 1000 - now_ms if short else 0)
        enforced = [0 if shadow else wait for shadow, wait in zip(charges.lenient, waits, strict=True)]
        taken = self._slots_in_use(tag, charges, now_ms)
        is_full = ask.slot and any(used >= most for used, most in zip(taken, charges.most, strict=True))
        if any(enforced) or is_full:
            if ask.calls:
                self._tell(tag, charges, remaining)
            left_now = (*(bucket.tokens for bucket in buckets), *remaining)
            return Decision(Status.REFUSED, now_ms, 0, left_now, tuple(enforced), taken)
        if ask.slot:
            taken = tuple([used + 1 for used in taken])
            self._keep_slots(tag, dict.fromkeys(charges.slot_keys, (ask.slot,)))
        return self._charge(tag, charges, ask, (buckets, remaining, waits))._replace(in_use=taken)

    def _slots_in_use(self, tag: str, charges: Charges, now_ms: int) -> tuple[int, ...]:
        names = [counter_name(tag, key) for key in charges.slot_keys]
        self._slots.update({name: in_use(self._slots.get(name, {}), now_ms) for name in names})
        return tuple([len(self._slots[name]) for name in names])

    def _refilled(self, tag: str, charges: Charges, now_ms: int) -> list[Bucket]:
        buckets = []
        for key, flow in zip(charges.keys, charges.flows, strict=False):
            known = self._buckets.get(counter_name(tag, key))
            bucket = known[0] if known is not None else token_bucket.full(flow, now_ms)
            buckets.append(token_bucket.refill(bucket, flow, now_ms))
        return buckets

    def _charge(
        self, tag: str, charges: Charges, ask: Ask, standing: tuple[list[Bucket], list[int], list[int]]
    ) -> Decision:
        now_ms = self.now_ms()
        buckets, remaining, waits = standing
        calls = _payable(charges, ask.calls, standing)
        after = [
            bucket if wait else token_bucket.take(bucket, calls * cost)  # only a shadow can have to wait
            for bucket, cost, wait in zip(buckets, charges.costs, waits, strict=False)
        ]
        rest = [left - calls * charge.cost for left, charge in zip(remaining, charges.quotas, strict=True)]
        extra = self._slice(charges, ask, after, rest)
        for position, (bucket, flow) in enumerate(zip(after, charges.flows, strict=True)):
            cost = charges.costs[position]
            taken = token_bucket.take(bucket, extra * cost)
            if ask.holder:
                hold = Hold((ask.held + extra) * cost, now_ms + HOLD_MS)
                taken = token_bucket.keep_hold(taken, flow, ask.holder, hold)
            after[position] = taken
            self._buckets[counter_name(tag, charges.keys[position])] = (taken, flow)
        for charge in charges.quotas:
            self._count(tag, charge.key, (calls + extra) * charge.cost, charge.span.end_s * 1000)
        rest = [units - extra * charge.cost for units, charge in zip(rest, charges.quotas, strict=True)]
        if calls + extra:
            self._tell(tag, charges, rest)
        left = (*(bucket.tokens for bucket in after), *rest)
        return Decision(Status.ADMITTED, now_ms, extra, left, tuple(waits), calls=calls)

    def _slice(self, charges: Charges, ask: Ask, buckets: list[Bucket], remaining: list[int]) -> int:
        slices = [
            bucket_slice(bucket.tokens, flow.burst, cost, scarce=ask.scarce)
            for bucket, flow, cost in zip(buckets, charges.flows, charges.costs, strict=False)
        ]
        slices += [
            quota_slice(left, charge.cost, scarce=ask.scarce)
            for left, charge in zip(remaining, charges.quotas, strict=True)
            if charge.cost > 0
        ]
        return min([ask.wanted, *slices])

    def _tell(self, tag: str, charges: Charges, remaining: list[int]) -> None:
        """See `thresholds.lua`."""
        for charge, left in zip(charges.quotas, remaining, strict=True):
            name, amount, used = (
                counter_name(tag, charge.key),
                charge.quota.amount,
                charge.quota.amount - left,
            )
            for percent in reached_beyond(self._told.get(name), amount, charge.thresholds, used):
                told = Told(self.now_ms(), used, charge.span.end_s * 1000, charge.quota.name)
                self.reached[Reached(f"tw:{name}", amount, percent)] = told
                self._told[name] = Highest(amount, percent)

    async def give_back(self, tag: str, charges: Charges, holder: str, calls: int) -> None:
        """See `give_back.lua`."""
        buckets = self._refilled(tag, charges, self.now_ms())
        for key, flow, cost, bucket in zip(charges.keys, charges.flows, charges.costs, buckets, strict=False):
            if holder in bucket.holds:
                returned = token_bucket.put_back(bucket, flow, holder, calls * cost)
                self._buckets[counter_name(tag, key)] = (returned, flow)
        await self.refund(tag, {charge.key: calls * charge.cost for charge in charges.quotas})

    async def refund(self, tag: str, units: Mapping[str, int], tokens: Tokens = NO_TOKENS) -> None:
        """See `give_back.lua`."""
        now_ms = self.now_ms()
        for (key, flow), given in tokens.items():
            name = counter_name(tag, key)
            known = self._buckets.get(name)
            bucket = token_bucket.refill(known[0] if known else token_bucket.full(flow, now_ms), flow, now_ms)
            self._buckets[name] = (token_bucket.settle(bucket, flow, given), flow)
        for key, amount in units.items():
            counter = self._counters.get(counter_name(tag, key))
            if counter is not None:
                counter.used = min(COUNTER_MAX, max(0, counter.used - amount))

    async def renew(self, tag: str, slots: SlotNames) -> None:
        """See `keep_slots.lua`."""
        self._keep_slots(tag, slots)

    def _keep_slots(self, tag: str, slots: SlotNames) -> None:
        for key, names in slots.items():
            name = counter_name(tag, key)
            self._slots[name] = kept(self._slots.get(name, {}), names, self.now_ms())

    async def release(self, tag: str, slots: SlotNames) -> None:
        """See `keep_slots.lua`."""
        for key, names in slots.items():
            name = counter_name(tag, key)
            self._slots[name] = released(self._slots.get(name, {}), names)

    def _used(self, tag: str, key: str, now_ms: int) -> int:
        counter = self._counters.get(counter_name(tag, key))
        return 0 if counter is None or counter.keep_until_ms <= now_ms else counter.used

    def _count(self, tag: str, key: str, units: int, ends_ms: int) -> None:
        if units > 0:
            fresh = _Counter(0, ends_ms + AFTER_PERIOD_MS)
            self._counters.setdefault(counter_name(tag, key), fresh).used += units

    def _forget(self, now_ms: int) -> None:
        """Drop buckets that are full again and counters of ended periods, now and then."""
        self._decisions += 1
        if self._decisions % SWEEP_EVERY:
            return
        for key, (bucket, flow) in list(self._buckets.items()):
            if bucket.at_ms + token_bucket.full_after_ms(bucket, flow) <= now_ms:
                del self._buckets[key]
        for key, counter in list(self._counters.items()):
            if counter.keep_until_ms <= now_ms:
                del self._counters[key]
                self._told.pop(key, None)
        self._slots = {key: slots for key, slots in self._slots.items() if in_use(slots, now_ms)}


def _payable(charges: Charges, calls: int, standing: tuple[list[Bucket], list[int], list[int]]) -> int:
    """As many of these calls, at least one, as can be paid alike."""
    buckets, remaining, waits = standing
    there = [bucket.level for bucket in buckets] + [float(left) for left in remaining]
    costs = [
        *(float(cost) * flow.period_ms for cost, flow in zip(charges.costs, charges.flows, strict=False)),
        *(float(charge.cost) for charge in charges.quotas),
    ]
    for amount, cost, wait in zip(there, costs, waits, strict=True):
        if calls > 1 and cost and not wait:
            calls = min(calls, floor(amount / cost))
            if calls * cost > amount:  # the quotient was rounded
                calls -= 1
    return calls

"""Counters in a Redis Cluster: as exact, in as many script calls as a call has hash tags.

What is an account's own lies in one slot and is decided in one script call. Buckets and sets of slots that
accounts share lie elsewhere. They are charged first, each tag by itself, and the account's own last; when one
refuses, those before it get back what they were charged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeVar

from gateway.admission.charges import Charges
from gateway.admission.cluster_trust import ClusterTrust
from gateway.admission.redis_store import DECIDES, RedisStore
from gateway.admission.store import NO_TOKENS, Ask, Decision, SlotNames, Status, Tokens, charged_before
from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.storage.tick_cluster import TickCluster

K = TypeVar("K")
V = TypeVar("V")


class Part(NamedTuple):
    """Charges of a call below one hash tag, and where they stand among all of them."""

    charges: Charges
    places: tuple[int, ...]
    sets: tuple[int, ...]


class ClusterStore(RedisStore):
    """The store of production, on a cluster. Whoever charges needs `trust`: events lie where its marks do."""

    calls_max = 1  # those of two accounts seldom lie in one slot

    def __init__(
        self,
        redis: TickCluster,
        clock: Clock,
        trust: ClusterTrust | None = None,
        *,
        time_from: Clock | None = None,
        looks_only: bool = False,
    ) -> None:
        super().__init__(redis, clock, trust, time_from=time_from, looks_only=looks_only)
        self._looks_only = looks_only
        self._look = self._script("look.lua", *DECIDES)

    async def decide(self, tag: str, charges: Charges, ask: Ask) -> Decision:
        """One script call, and one more for each hash tag of buckets that accounts share."""
        if not _is_shared(charges):
            return await super().decide(tag, charges, ask)
        parts = parts_of(charges)
        # Nothing is bought ahead, as `routing.plans` has it: no part knows what the others can spare.
        ask = Ask(calls=ask.calls, slot=ask.slot)
        if self._looks_only:
            decisions = [await self._look.decide(tag, part.charges, ask) for part in parts]
        else:
            decisions = await self._decide_in_turn(tag, parts, ask)
        return merged(charges, parts, decisions, ask)

    async def _decide_in_turn(self, tag: str, parts: list[Part], ask: Ask) -> list[Decision]:
        """The decision of each part: all admitted and charged for as many calls, or none is charged.

        Behind a refusal the others say what they would have answered: callers are told the longest wait.
        """
        paid: list[tuple[Part, Decision]] = []
        try:
            for part in parts:
                decision = await self._admit.decide(tag, part.charges, ask)
                if decision.status is not Status.ADMITTED:
                    break
                if decision.calls < ask.calls:  # those before it have charged more
                    ask = ask._replace(calls=decision.calls)
                    await self._take_back(tag, paid, keep=ask.calls)
                    paid = [(before, _with_fewer(before, one, ask.calls)) for before, one in paid]
                paid.append((part, decision))
            else:
                return [decision for _, decision in paid]
        except StoreUnavailable:
            await self._take_back(tag, paid, ask.slot)
            raise
        await self._take_back(tag, paid, ask.slot)
        if decision.status is not Status.REFUSED:
            return [decision]
        others = [await self._look_at(tag, part, ask) for part in parts[len(paid) + 1 :]]
        return [*(_returned(part, one, ask) for part, one in paid), decision, *others]

    async def _look_at(self, tag: str, part: Part, ask: Ask) -> Decision:
        """What a part would have said; one that can not be asked does not undo the refusal of another."""
        try:
            return await self._look.decide(tag, part.charges, ask)
        except StoreUnavailable:
            none = (0,) * len(part.places)
            return Decision(Status.REFUSED, 0, 0, none, none, (0,) * len(part.sets))

    async def _take_back(
        self, tag: str, paid: list[tuple[Part, Decision]], slot: str = "", *, keep: int = 0
    ) -> None:
        """Of each part what more than `keep` calls paid, and the slot. At most once: what is lost on the way
        stays spent; tokens flow in, slots end by themselves.
        """
        for part, decision in paid:
            charges = part.charges
            tokens = {
                (key, flow): (decision.calls - keep) * cost
                for key, flow, cost, wait_ms in zip(
                    charges.keys, charges.flows, charges.costs, decision.wait_ms, strict=True
                )
                if decision.calls > keep and not wait_ms  # a shadow that has to wait was not charged
            }
            with suppress(StoreUnavailable):
                if tokens:
                    await self.refund(tag, {}, tokens)
                if slot and charges.slot_keys:
                    await self.release(tag, dict.fromkeys(charges.slot_keys, (slot,)))

    async def give_back(self, tag: str, charges: Charges, holder: str, calls: int) -> None:
        give = super().give_back
        await _each([part.charges for part in parts_of(charges)], lambda one: give(tag, one, holder, calls))

    async def refund(self, tag: str, units: Mapping[str, int], tokens: Tokens = NO_TOKENS) -> None:
        refund = super().refund
        groups = _by_tag(tokens.items(), lambda one: one[0])
        if self._trust is not None and not self._trust.believes(tag):
            units = {}  # what was charged before a loss is not to come off
        if units:
            groups.setdefault("", {})
        await _each(groups.items(), lambda one: refund(tag, {} if one[0] else units, one[1]))

    async def renew(self, tag: str, slots: SlotNames) -> None:
        renew = super().renew
        await _each(_by_tag(slots.items(), lambda key: key).values(), lambda one: renew(tag, one))

    async def release(self, tag: str, slots: SlotNames) -> None:
        release = super().release
        await _each(_by_tag(slots.items(), lambda key: key).values(), lambda one: release(tag, one))


def parts_of(charges: Charges) -> list[Part]:
    """Shared buckets and sets first, by their tags; the account's own last. One, if nothing is shared."""
    if not _is_shared(charges):
        return [Part(charges, tuple(range(len(charges.keys))), tuple(range(len(charges.slot_keys))))]
    found: dict[str, tuple[list[int], list[int]]] = {}
    first = len(charges.limits)
    for place, name in enumerate((*charges.keys[:first], *charges.slot_keys)):
        limits, sets = found.setdefault(_tag_in(name), ([], []))
        if place < first:
            limits.append(place)
        else:
            sets.append(place - first)
    own = found.pop("", ([], []))
    parts = [
        Part(charges.of(limits, sets, quotas=False), tuple(limits), tuple(sets))
        for limits, sets in found.values()
    ]
    quotas = tuple(range(first, len(charges.keys)))
    if own[0] or own[1] or quotas:
        parts.append(Part(charges.of(*own, quotas=True), (*own[0], *quotas), tuple(own[1])))
    return parts


def _is_shared(charges: Charges) -> bool:
    return any(key[0] == "{" for key in charges.keys) or any(key[0] == "{" for key in charges.slot_keys)


def merged(charges: Charges, parts: list[Part], decisions: list[Decision], ask: Ask) -> Decision:
    """One decision of those of all parts, or of the one that is none: too late, or of another period."""
    odd = next((one for one in decisions if one.status > Status.ADMITTED), None)
    if odd is not None:
        return odd
    is_admitted = all(one.status is Status.ADMITTED for one in decisions)
    left, wait_ms = [0] * len(charges.keys), [0] * len(charges.keys)
    in_use = [0] * len(charges.slot_keys)
    for part, one in zip(parts, decisions, strict=True):
        told = one if is_admitted or one.status is Status.REFUSED else _returned(part, one, ask)
        for place, position in enumerate(part.places):
            left[position], wait_ms[position] = told.left[place], told.wait_ms[place]
        for place, position in enumerate(part.sets):
            in_use[position] = told.in_use[place]
    status = Status.ADMITTED if is_admitted else Status.REFUSED
    calls = min(one.calls for one in decisions) if is_admitted else 0
    now_ms = max(one.now_ms for one in decisions)
    return Decision(status, now_ms, 0, tuple(left), tuple(wait_ms), tuple(in_use), calls)


def _with_fewer(part: Part, admitted: Decision, calls: int) -> Decision:
    """What a part says once it was given back all but so many calls."""
    return charged_before(part.charges, admitted, admitted.calls - calls)._replace(calls=calls)


def _returned(part: Part, admitted: Decision, ask: Ask) -> Decision:
    """What a part would have said, had it been refused for the sake of others."""
    left = charged_before(part.charges, admitted, admitted.calls).left
    in_use = tuple([one - 1 if ask.slot else one for one in admitted.in_use])
    return Decision(Status.REFUSED, admitted.now_ms, 0, left, (0,) * len(left), in_use)


def _tag_in(name: str) -> str:
    """The hash tag of a key that accounts share; empty for an account's own."""
    return name[1 : name.index("}")] if name[0] == "{" else ""


def _by_tag(items: Iterable[tuple[K, V]], name_of: Callable[[K], str]) -> dict[str, dict[K, V]]:
    groups: dict[str, dict[K, V]] = {}
    for key, value in items:
        groups.setdefault(_tag_in(name_of(key)), {})[key] = value
    return groups


async def _each(given: Iterable[V], send: Callable[[V], Awaitable[None]]) -> None:
    """One after the other. Once one has arrived it can not be said any more that nothing did."""
    arrived = False
    for one in given:
        try:
            await send(one)
        except StoreUnavailable as lost:
            if not arrived:
                raise
            raise StoreUnavailable(str(lost), told=lost.told) from lost
        arrived = True

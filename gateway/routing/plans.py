"""What one call pays into under a tier, worked out once per snapshot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fractions import Fraction

from gateway.model.policies import ChargePlan, Period, PolicySet, Quota, Route, Tier

PERIOD_S: Mapping[Period, int] = {Period.HOUR: 3600, Period.DAY: 86_400}
"""Seconds of the periods that always last the same. Months do not."""

_HOURS: Mapping[Period, int] = {Period.HOUR: 1, Period.DAY: 24, Period.MONTH: 730}
"""To compare quotas with each other; a month is a twelfth of a year here."""

Costs = tuple[tuple[Quota, int], ...]


class Upgrades:
    """Which tier helps a caller who was refused, and where to get it."""

    def __init__(self, policies: PolicySet, portal_url: str) -> None:
        self._tiers = tuple(policies.tiers.values())
        self._names = [tier.name for tier in self._tiers]
        self._template = policies.upgrade_url or f"{portal_url.rstrip('/')}/tiers?upgrade={{tier}}"

    def url(self, tier: Tier) -> str:
        """Where a tier is sold. Tier names consist of characters that URLs carry as they are."""
        return self._template.replace("{tier}", tier.name)

    def with_features(self, tier: Tier, features: frozenset[str]) -> str | None:
        """The first later tier that has all these features."""
        for later in self._later(tier):
            if later.features >= features:
                return self.url(later)
        return None

    def with_more(self, tier: Tier, costs: Costs) -> str | None:
        """The first later tier that allows more of something this call pays into, and of nothing less."""
        meters = {quota.meter for quota, _ in costs}
        mine = _allowance(tier, meters)
        for later in self._later(tier):
            theirs = _allowance(later, meters)
            pairs = list(zip(mine, theirs, strict=True))
            if all(_at_least(more, less) for less, more in pairs) and mine != theirs:
                return self.url(later)
        return None

    def _later(self, tier: Tier) -> tuple[Tier, ...]:
        return self._tiers[self._names.index(tier.name) + 1 :]


def _allowance(tier: Tier, meters: set[str]) -> list[Fraction | None]:
    """The tightest rate, burst and quota of each meter; None where there is no bound."""
    bounds: list[list[Fraction]] = [
        [Fraction(limit.tokens, limit.period_ms) for limit in tier.limits],
        [Fraction(limit.burst) for limit in tier.limits],
    ]
    bounds += [
        [Fraction(quota.amount, _HOURS[quota.per]) for quota in tier.quotas if quota.meter == meter]
        for meter in sorted(meters)
    ]
    return [min(bound, default=None) for bound in bounds]


def _at_least(more: Fraction | None, less: Fraction | None) -> bool:
    return more is None or (less is not None and more >= less)


class Plans:
    """The charge plan of every (tier, route). Equal charges under one tier are the same object."""

    def __init__(self, policies: PolicySet, upgrades: Upgrades) -> None:
        self._policies = policies
        self._upgrades = upgrades
        self._made: dict[tuple[str, Costs], ChargePlan] = {}

    def plan(self, tier: Tier, route: Route) -> ChargePlan:
        """What a call on this route pays under this tier: every limit, and the quotas of charged meters."""
        costs = tuple(
            (quota, cost) for quota in tier.quotas if (cost := route.charges.get(quota.meter, 0)) > 0
        )
        plan = self._made.get((tier.name, costs))
        if plan is None:
            plan = self._made[tier.name, costs] = self._make(tier, costs)
        return plan

    def _make(self, tier: Tier, costs: Costs) -> ChargePlan:
        return ChargePlan(
            id=plan_id(tier, costs),
            tier=tier,
            limits=tier.limits,
            quotas=costs,
            mode=self._policies.admission_mode,
            on_store_loss=self._policies.on_store_loss,
            upgrade_url=self._upgrades.with_more(tier, costs),
            policy_header=policy_header(tier, costs, self._policies),
        )


def plan_id(tier: Tier, costs: Costs) -> str:
    """The same for the same charges, in every worker and after every reload, whatever the tier is called."""
    content = [
        [[limit.name, limit.tokens, limit.period_ms, limit.burst] for limit in tier.limits],
        [[quota.name, quota.meter, quota.amount, quota.per.value, cost] for quota, cost in costs],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def policy_header(tier: Tier, costs: Costs, policies: PolicySet) -> bytes:
    """The complete line (draft-ietf-httpapi-ratelimit-headers-11); empty when nothing is charged."""
    items = [
        f"{_string(limit.name)};q={limit.tokens};w={limit.period_ms // 1000};tollway-burst={limit.burst}"
        for limit in tier.limits
    ]
    items += [_quota_item(quota, policies) for quota, _ in costs]
    return f"RateLimit-Policy: {','.join(items)}\r\n".encode("ascii") if items else b""


def _quota_item(quota: Quota, policies: PolicySet) -> str:
    item = f"{_string(quota.name)};q={quota.amount}"
    if quota.per in PERIOD_S:  # a calendar month has no fixed window to announce
        item += f";w={PERIOD_S[quota.per]}"
    if quota.meter != "api_calls":  # the default unit is requests
        item += f";qu={_string(policies.meters[quota.meter].unit)}"
    return item


def _string(text: str) -> str:
    """A String of structured fields (RFC 9651, section 3.3.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

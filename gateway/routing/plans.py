"""What one call pays into under a tier, worked out once per snapshot."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from fractions import Fraction

from gateway.model.overage import NOTIFY
from gateway.model.policies import (
    OF_ACCOUNT,
    AdmissionMode,
    ChargePlan,
    ConcurrencyLimit,
    Limit,
    LimitFields,
    OnStoreLoss,
    PolicySet,
    Quota,
    Route,
    Scope,
    Tier,
)

BOUGHT_AHEAD = frozenset(("account", "key", "route"))
"""Scopes of few values. A bucket per address, header value or claim is decided call by call: nobody knows how
many there are, and what a worker held of each would weigh more than it saves."""

PLANS_MAX = 4096
"""Plans remembered. Costs by size make many; forgetting one only means to make it again."""

Costs = tuple[tuple[Quota, int], ...]


@dataclass(frozen=True, slots=True)
class Charged:
    """What calls that pay alike have in common. `units`: of the meters whose cost differs between calls."""

    limits: tuple[Limit, ...]
    quotas: Costs
    cost: int = 1
    units: tuple[tuple[str, int], ...] = field(default=())
    concurrency: tuple[ConcurrencyLimit, ...] = ()
    metered: tuple[tuple[str, int], ...] = ()  # units of the meters that limits count

    @property
    def refuses(self) -> bool:
        """Whether some of it is no shadow; if all is, nobody is refused, not even while Redis is gone."""
        shadows = [one.shadow for one in self.limits] + [not quota.refuses for quota, _ in self.quotas]
        return not all(shadows) or any(not one.shadow for one in self.concurrency)


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
        meters = sorted({quota.meter for quota, _ in costs})
        scopes = sorted(
            {(limit.scope, limit.meter) for limit in tier.limits}
            | {(limit.scope, "") for limit in tier.concurrency}
        )
        mine = _allowance(tier, scopes, meters)
        for later in self._later(tier):
            theirs = _allowance(later, scopes, meters)
            pairs = list(zip(mine, theirs, strict=True))
            if all(_at_least(more, less) for less, more in pairs) and mine != theirs:
                return self.url(later)
        return None

    def _later(self, tier: Tier) -> tuple[Tier, ...]:
        return self._tiers[self._names.index(tier.name) + 1 :]


def _allowance(tier: Tier, scopes: list[tuple[Scope, str]], meters: list[str]) -> list[Fraction | None]:
    """The tightest rate, burst and concurrency of each scope, and quota of each meter; None: no bound."""
    bounds: list[list[Fraction]] = []
    for scope, counted in scopes:
        limits = [limit for limit in tier.limits if (limit.scope, limit.meter) == (scope, counted)]
        limits = [limit for limit in limits if not limit.shadow]
        bounds.append([Fraction(limit.tokens, limit.period_ms) for limit in limits])
        bounds.append([Fraction(limit.burst) for limit in limits])
        slots = [limit for limit in tier.concurrency if limit.scope == scope and not counted]
        slots = [limit for limit in slots if not limit.shadow]
        bounds.append([Fraction(limit.most) for limit in slots])
    bounds += [
        [
            Fraction(quota.amount) / Fraction(quota.per.hours)
            for quota in tier.quotas
            if quota.meter == meter and quota.refuses
        ]
        for meter in meters
    ]
    return [min(bound, default=None) for bound in bounds]


def _at_least(more: Fraction | None, less: Fraction | None) -> bool:
    return more is None or (less is not None and more >= less)


class Plans:
    """The charge plan of every (tier, route). Equal charges under one tier are the same object."""

    def __init__(self, policies: PolicySet, upgrades: Upgrades) -> None:
        self._policies = policies
        self._upgrades = upgrades
        self._made: dict[tuple[Tier, Charged], ChargePlan] = {}

    def plan(self, tier: Tier, route: Route, method: str = "", body_bytes: int = 0) -> ChargePlan:
        """What a call on this route pays under this tier: limits, and the quotas of charged meters.

        Method and size matter only where the route's costs vary.
        """
        units = {meter: cost.of(method, body_bytes) for meter, cost in route.varying.items()}
        price = {**route.charges, **units}
        cost = route.cost.of(method, body_bytes)
        limits = [
            limit
            for limit in tier.limits
            if (not limit.routes or route.name in limit.routes)
            and (price.get(limit.meter, 0) if limit.meter else cost)
        ]
        charged = Charged(
            limits=tuple(limits),
            quotas=tuple(
                (quota, price[quota.meter]) for quota in tier.quotas if price.get(quota.meter, 0) > 0
            ),
            cost=cost or 1,
            units=tuple(units.items()),
            concurrency=tuple(
                limit for limit in tier.concurrency if not limit.routes or route.name in limit.routes
            ),
            metered=tuple((limit.meter, price[limit.meter]) for limit in limits if limit.meter),
        )
        plan = self._made.get((tier, charged))
        if plan is None:
            if len(self._made) >= PLANS_MAX:
                self._made.clear()
            plan = self._made[tier, charged] = self._make(tier, charged)
        return plan

    def _make(self, tier: Tier, charged: Charged) -> ChargePlan:
        ahead = not charged.concurrency and all(
            BOUGHT_AHEAD.issuperset(limit.scope) and not limit.shared for limit in charged.limits
        )
        return ChargePlan(
            id=plan_id(charged, self._policies.limit_fields),
            tier=tier,
            limits=charged.limits,
            quotas=charged.quotas,
            mode=(tier.mode or self._policies.admission_mode) if ahead else AdmissionMode.EXACT,
            on_store_loss=self._policies.on_store_loss if charged.refuses else OnStoreLoss.ALLOW,
            upgrade_url=self._upgrades.with_more(tier, charged.quotas),
            policy_header=policy_header(charged, self._policies),
            cost=charged.cost,
            units=dict(charged.units),
            fields=self._policies.limit_fields,
            retry_jitter_ms=self._policies.retry_jitter_ms,
            concurrency=charged.concurrency,
            metered=dict(charged.metered),
        )


def plan_id(charged: Charged, fields: LimitFields = LimitFields.DRAFT) -> str:
    """The same for the same charges, in every worker and after every reload, whatever the tier is called.

    Charges that are shown to callers in another way are others.
    """
    content: list[object] = [
        [_limit_content(limit) for limit in charged.limits],
        [[quota.name, quota.meter, quota.amount, quota.per.text, cost] for quota, cost in charged.quotas],
    ]
    if charged.cost != 1 or charged.units:
        content += [charged.cost, charged.units]
    if fields is not LimitFields.DRAFT:
        content.append(fields.value)
    shadows = [limit.name for limit in charged.limits if limit.shadow]
    shadows += [quota.name for quota, _ in charged.quotas if quota.shadow]
    shadows += [limit.name for limit in charged.concurrency if limit.shadow]
    if shadows:
        content.append({"shadows": shadows})
    lenient = [quota.name for quota, _ in charged.quotas if not (quota.refuses or quota.shadow)]
    told = [quota.notify for quota, _ in charged.quotas]
    if lenient or any(percents != NOTIFY for percents in told):
        content.append({"lenient": lenient, "notify": told})
    if charged.concurrency:
        content.append([_concurrency_content(limit) for limit in charged.concurrency])
    if charged.metered:
        content.append({"metered": [(limit.name, limit.meter) for limit in charged.limits if limit.meter]})
        content.append(charged.metered)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _limit_content(limit: Limit) -> list[object]:
    content: list[object] = [limit.name, limit.tokens, limit.period_ms, limit.burst]
    return content if limit.scope == OF_ACCOUNT else [*content, limit.scope]


def _concurrency_content(limit: ConcurrencyLimit) -> list[object]:
    return [limit.name, limit.most, limit.on_full.value, limit.wait_s, limit.scope]


def policy_header(charged: Charged, policies: PolicySet) -> bytes:
    """The complete line (draft-ietf-httpapi-ratelimit-headers-11); empty when nothing is charged or shown."""
    if policies.limit_fields is not LimitFields.DRAFT:
        return b""
    items = [_limit_item(limit, policies) for limit in charged.limits if not limit.shadow]
    items += [_quota_item(quota, policies) for quota, _ in charged.quotas if not quota.shadow]
    return f"RateLimit-Policy: {','.join(items)}\r\n".encode("ascii") if items else b""


def _limit_item(limit: Limit, policies: PolicySet) -> str:
    item = f"{_string(limit.name)};q={limit.tokens};w={limit.period_ms // 1000};tollway-burst={limit.burst}"
    return item + _unit(limit.meter, policies)


def _quota_item(quota: Quota, policies: PolicySet) -> str:
    item = f"{_string(quota.name)};q={quota.amount}"
    if quota.per.seconds is not None:  # months have no fixed window to announce
        item += f";w={quota.per.seconds}"
    if not quota.refuses:
        item += ";tollway-overage" if quota.overage else ";tollway-soft"
    return item + _unit(quota.meter, policies)


def _unit(name: str, policies: PolicySet) -> str:
    """What is counted, where it is not the default, requests."""
    if name in ("", "api_calls"):
        return ""
    meter = policies.meters[name]
    return f";qu={_string(meter.unit if meter.scale == 1 else f'{meter.unit}/{meter.scale}')}"


def _string(text: str) -> str:
    """A String of structured fields (RFC 9651, section 3.3.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

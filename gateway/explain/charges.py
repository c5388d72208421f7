"""What a call pays into and how each of it stands, in words and figures."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.admission.fields import whole_seconds
from gateway.admission.onlooker import Seen
from gateway.admission.redis_store import counter_names
from gateway.admission.refusal import would_have_refused
from gateway.controlplane import wording
from gateway.controlplane.explanations import ChargeDocument
from gateway.model.enforcement import Enforcement, Enforcing
from gateway.model.policies import ChargePlan, ConcurrencyLimit, Limit, Quota, Tier
from gateway.model.principal import Principal


class ChargesTold:
    """Puts the charges of one call into documents."""

    def __init__(
        self,
        plan: ChargePlan,
        seen: Seen | None,
        *,
        principal: Principal,
        route: str,
        tier: Tier,
        enforcement: Enforcement,
    ) -> None:
        """`seen` None: Redis did not say. `tier` as the policies have it."""
        self._plan, self._seen, self._route, self._tier = plan, seen, route, tier
        self._enforcement = enforcement
        # An override of a key may be about a limit that counts all keys, and then changes nothing.
        changed = _figures(plan.limits, [quota for quota, _ in plan.quotas]) - _figures(
            tier.limits, tier.quotas
        )
        self._overridden = {str(name) for name, *_ in changed} & {one.name for one in principal.overrides}
        self._counters = counter_names(seen.tag, seen.charges) if seen is not None else ()
        self._shadows = would_have_refused(seen.charges, seen.decision) if seen is not None else ()

    def documents(self) -> list[ChargeDocument]:
        """All of them: limits, quotas, concurrency limits."""
        told = [self._limit(limit, position) for position, limit in enumerate(self._plan.limits)]
        told += [self._quota(quota, cost, at) for at, (quota, cost) in enumerate(self._plan.quotas)]
        return told + [self._concurrency(limit, at) for at, limit in enumerate(self._plan.concurrency)]

    def passed_beyond(self) -> list[str]:
        """Names of quotas that the call goes beyond, and that let it pass."""
        if self._seen is None:
            return []
        waits = self._seen.decision.wait_ms[len(self._plan.limits) :]
        quotas = [quota for quota, _ in self._plan.quotas]
        return [
            one.name
            for one, wait in zip(quotas, waits, strict=True)
            if wait and not (one.shadow or one.refuses)
        ]

    def switched_off(self) -> list[str]:
        """Names that the tier has and operators switched off for such calls."""
        return sorted(name for name in self._tier.bounds if self._left_of(name) is Enforcing.OFF)

    def _left_of(self, name: str) -> Enforcing:
        return self._enforcement.of(name, self._tier.name, self._route)

    def _base(self, one: Limit | Quota | ConcurrencyLimit, kind: str, text: str, size: int) -> ChargeDocument:
        return {
            "name": one.name,
            "kind": kind,
            "text": text,
            "scope": ["account"] if isinstance(one, Quota) else list(one.scope),
            "counter": None,
            "cost": 1,
            "size": size,
            "left": None,
            "used": None,
            "held_in_advance": 0,
            "period_start": None,
            "period_end": None,
            "override": one.name in self._overridden,
            "enforced": not one.shadow,
            "shadow_because": self._because(one.name) if one.shadow else None,
            "would_refuse": one.name in self._shadows,
            "retry_after_s": 0,
        }

    def _because(self, name: str) -> str:
        if self._left_of(name) is Enforcing.SHADOW:
            return "switch"
        tier = self._tier
        policies: list[Limit | Quota | ConcurrencyLimit] = [*tier.limits, *tier.quotas, *tier.concurrency]
        return "rollout" if any(one.name == name and one.enforce for one in policies) else "policies"

    def _limit(self, limit: Limit, position: int) -> ChargeDocument:
        told = self._base(limit, "limit", wording.limit_text(limit), limit.burst)
        told["cost"] = self._plan.tokens(limit)
        seen = self._seen
        if seen is not None:
            told["left"] = seen.present.left[position]
            told["used"] = limit.burst - seen.present.left[position]
            told["held_in_advance"] = seen.held[position].tokens
        self._weigh(told, position)
        return told

    def _quota(self, quota: Quota, cost: int, at: int) -> ChargeDocument:
        told = self._base(quota, "quota", wording.quota_text(quota), quota.amount)
        told["cost"] = cost
        position, seen = len(self._plan.limits) + at, self._seen
        if seen is not None:
            span = seen.charges.quotas[at].span
            told["left"] = seen.present.left[position]
            told["used"] = quota.amount - seen.present.left[position]
            told["period_start"] = wording.instant_us(span.start_s * 1_000_000)
            told["period_end"] = wording.instant_us(span.end_s * 1_000_000)
        self._weigh(told, position)
        if quota.soft or quota.overage:
            told["would_refuse"], told["retry_after_s"] = False, 0
        return told

    def _concurrency(self, limit: ConcurrencyLimit, at: int) -> ChargeDocument:
        told = self._base(limit, "concurrency", wording.concurrency_text(limit), limit.most)
        seen = self._seen
        if seen is not None:
            used = seen.present.in_use[at]
            told["left"], told["used"] = max(0, limit.most - used), used
            told["counter"] = self._counters[len(seen.charges.keys) + at]
            told["would_refuse"] = used >= limit.most
        return told

    def _weigh(self, told: ChargeDocument, position: int) -> None:
        """Whether a bucket or quota refuses, and for how long."""
        if self._seen is not None:
            wait_ms = self._seen.decision.wait_ms[position]
            told["counter"] = self._counters[position]
            told["would_refuse"] = wait_ms > 0
            told["retry_after_s"] = whole_seconds(wait_ms)


def _figures(limits: Iterable[Limit], quotas: Iterable[Quota]) -> set[tuple[str | int, ...]]:
    found: set[tuple[str | int, ...]] = {(one.name, one.amount) for one in quotas}
    return found | {(one.name, one.tokens, one.period_ms, one.burst) for one in limits}

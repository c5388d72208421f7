"""What a refused caller is told: which policy, what is used, when to come back, where to get more."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.admission.charges import Charges
from gateway.admission.fields import refused_lines, whole_seconds
from gateway.admission.store import Decision
from gateway.admission.subjects import describe
from gateway.errors import ConcurrencyExceeded, QuotaExceeded, RateLimited
from gateway.model.policies import ChargePlan, Limit

PERIOD_NAMES = {1000: "second", 60_000: "minute", 3_600_000: "hour", 86_400_000: "day"}


def refusal(
    plan: ChargePlan, charges: Charges, decision: Decision, later_ms: int = 0
) -> RateLimited | QuotaExceeded | ConcurrencyExceeded:
    """The error for a refused call. The quota is named if one refuses: it lasts longest. Slots that are all
    in use are named if nothing else refuses: they may be free in a moment.

    `later_ms`: how much longer than needed the caller is told to wait.
    """
    violated = [position for position, wait in enumerate(decision.wait_ms) if wait > 0]
    if not violated:
        return _all_slots_in_use(plan, charges, decision, later_ms)
    longest = max(violated, key=lambda position: decision.wait_ms[position])
    first_quota = len(charges.limits)
    quotas = [position for position in violated if position >= first_quota]
    worst = max(quotas, key=lambda position: decision.wait_ms[position]) if quotas else longest
    retry_after_s = whole_seconds(decision.wait_ms[longest] + later_ms)
    if quotas:
        detail = _describe_quota(plan, charges, decision, worst)
    else:
        detail = f"{_describe_limit(plan, charges, worst)} Try again in {retry_after_s} s."
    if plan.upgrade_url:
        detail += f" For more, upgrade at {plan.upgrade_url}"
    headers = refused_lines(charges, decision) + b"Retry-After: %d\r\n" % retry_after_s
    kind = QuotaExceeded if quotas else RateLimited
    standings = [_standing(charges, decision, position) for position in violated]
    return kind(detail, headers=headers, extensions=_extensions(plan, charges, decision, standings))


def would_have_refused(charges: Charges, decision: Decision) -> tuple[str, ...]:
    """The shadows that would have refused an admitted call, had they been enforced."""
    waits = zip(charges.names, decision.wait_ms, charges.shadows, strict=True)
    names = [name for name, wait, shadow in waits if wait and shadow]
    for limit, used in zip(charges.concurrency, decision.in_use, strict=True):
        if limit.shadow and used > limit.most:
            names.append(limit.name)
    return tuple(names)


def units_beyond(charges: Charges, decision: Decision) -> dict[str, int]:
    """By how many units an admitted call goes beyond quotas that are soft or have overage, by their names."""
    first = len(charges.limits)
    return {
        charge.quota.name: min(charge.cost, -decision.left[position])
        for position, charge in enumerate(charges.quotas, first)
        if decision.wait_ms[position] and not charges.shadows[position]
    }


def _all_slots_in_use(
    plan: ChargePlan, charges: Charges, decision: Decision, later_ms: int
) -> ConcurrencyExceeded:
    used = zip(charges.concurrency, decision.in_use, strict=True)
    full = [limit for limit, in_use in used if in_use >= limit.bound]
    limit = full[0]
    retry_after_s = whole_seconds(1000 + later_ms)  # who knows when one of these calls ends
    calls = "1 call" if limit.most == 1 else f"{limit.most} calls"
    detail = (
        f"The limit `{limit.name}` of the tier `{plan.tier.name}` allows {calls} at once"
        f"{describe(limit.scope)}, and as many are under way. Try again when one has ended."
    )
    if plan.upgrade_url:
        detail += f" For more, upgrade at {plan.upgrade_url}"
    headers = refused_lines(charges, decision) + b"Retry-After: %d\r\n" % retry_after_s
    return ConcurrencyExceeded(detail, headers=headers, extensions=_extensions(plan, charges, decision, []))


def _extensions(
    plan: ChargePlan, charges: Charges, decision: Decision, standings: list[dict[str, object]]
) -> dict[str, object]:
    """Members of the document: all that refuses, with the slots that are all in use."""
    full: list[dict[str, object]] = [
        {"policy": limit.name, "limit": limit.most, "used": used, "remaining": 0}
        for limit, used in zip(charges.concurrency, decision.in_use, strict=True)
        if used >= limit.bound
    ]
    extensions: dict[str, object] = {
        "violated-policies": [standing["policy"] for standing in (*standings, *full)],
        "limits": [*standings, *full],
        "tier": plan.tier.name,
    }
    if plan.upgrade_url:
        extensions["upgrade_url"] = plan.upgrade_url
    return extensions


def _standing(charges: Charges, decision: Decision, position: int) -> dict[str, object]:
    """Where the caller stands with one policy that refuses."""
    left = decision.left[position]
    limit, wait_ms = charges.sizes[position], decision.wait_ms[position]
    return {
        "policy": charges.names[position],
        "limit": limit,
        "used": limit - left,
        "remaining": max(0, left),
        "resets_at": _instant(decision.now_ms + wait_ms),
        "resets_in_s": whole_seconds(wait_ms),
    }


def _describe_limit(plan: ChargePlan, charges: Charges, position: int) -> str:
    limit = charges.limits[position]
    cost = charges.costs[position]
    needs = "" if cost == 1 else f" This call counts as {cost}."
    return (
        f"The limit `{limit.name}` of the tier `{plan.tier.name}` allows {_rate(limit)}"
        f"{describe(limit.scope)}.{needs}"
    )


def _rate(limit: Limit) -> str:
    period = PERIOD_NAMES.get(limit.period_ms, f"{limit.period_ms} ms")
    calls = "1 call" if limit.tokens == 1 else f"{limit.tokens} calls"
    if limit.meter:
        calls = f"{limit.tokens} {limit.meter}"
    return f"{calls} per {period} with bursts of up to {limit.burst}"


def _describe_quota(plan: ChargePlan, charges: Charges, decision: Decision, position: int) -> str:
    charge = charges.quotas[position - len(charges.limits)]
    quota = charge.quota
    used = quota.amount - decision.left[position]
    needs = "" if charge.cost == 1 else f", and this call needs {charge.cost}"
    return (
        f"The quota `{quota.name}` of the tier `{plan.tier.name}` is used up: {used} of {quota.amount} "
        f"{quota.meter} in {quota.per.this}{needs}. It starts again at "
        f"{_instant(charge.span.end_s * 1000)}."
    )


def _instant(at_ms: int) -> str:
    """RFC 3339, UTC, whole seconds rounded up."""
    return datetime.fromtimestamp(whole_seconds(at_ms), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""A tier as one customer has it: with the special deals of an account and a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.model.policies import Limit, Scope, Tier
from gateway.model.principal import Override

OF_KEY: Scope = ("account", "key")


def with_overrides(tier: Tier, overrides: Sequence[Override]) -> Tier:
    """The tier with other figures.

    A name that the tier does not have adds a limit of the account, or a cap of the key. What a key has
    changes only limits that tell keys apart: others count its account's calls. A quota is never added.
    """
    limits = {limit.name: limit for limit in tier.limits}
    amounts: dict[str, int] = {}
    quotas = {quota.name for quota in tier.quotas}
    for one in overrides:
        if one.amount is not None:
            amounts[one.name] = one.amount
            continue
        limit = limits.get(one.name)
        if limit is None and one.name not in quotas:
            scope = OF_KEY if one.of_key else ("account",)
            limits[one.name] = Limit(one.name, one.tokens, one.period_ms, one.burst, scope)
        elif limit is not None and (not one.of_key or "key" in limit.scope):
            limits[one.name] = replace(limit, tokens=one.tokens, period_ms=one.period_ms, burst=one.burst)
    return replace(
        tier,
        limits=tuple(limits.values()),
        quotas=tuple(replace(quota, amount=amounts.get(quota.name, quota.amount)) for quota in tier.quotas),
    )

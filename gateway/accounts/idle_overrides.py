"""Overrides against the policies: those that can never do anything, and those that do not now."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.accounts.overrides import StoredOverride
from gateway.errors import NotFound
from gateway.model.policies import PolicySet, Tier
from gateway.model.principal import Override


def check_there_is(override: Override, policies: PolicySet) -> None:
    """NotFound for an override of something that no tier has. Limits may be new: an account's own."""
    tiers = policies.tiers.values()
    limits = {limit.name for tier in tiers for limit in tier.limits}
    quotas = {quota.name for tier in tiers for quota in tier.quotas}
    concurrency = {limit.name for tier in tiers for limit in tier.concurrency}
    if override.amount is not None and override.name not in quotas:
        known = ", ".join(sorted(quotas)) or "none"
        kind = "is a limit: give rate and burst" if override.name in limits else "is no quota"
        raise NotFound(f"`{override.name}` {kind}. The policies in use have these quotas: {known}.")
    if override.amount is None and override.name not in limits:
        if override.name in quotas:
            raise NotFound(f"`{override.name}` is a quota: give its amount.")
        if override.name in concurrency:
            raise NotFound(f"`{override.name}` is a concurrency limit, and those have no overrides.")


def warnings(found: Iterable[StoredOverride], tier: Tier | None) -> list[str]:
    """What is odd about overrides of an account with this tier, for people. None: a tier nobody knows."""
    if tier is None:
        return []
    return [text for one in found if (text := _odd(one, tier)) is not None]


def _odd(one: StoredOverride, tier: Tier) -> str | None:
    whose = f"`{one.name}`" + (f" of {one.key}" if one.key is not None else "")
    quotas = {quota.name for quota in tier.quotas}
    limit = next((limit for limit in tier.limits if limit.name == one.name), None)
    if one.amount is not None:
        missing = f"{whose} changes nothing: the tier `{tier.name}` has no quota of that name."
        return missing if one.name not in quotas else None
    if limit is not None:
        together = f"{whose} changes nothing: that limit counts all keys together. Give the cap another name."
        return together if one.key is not None and "key" not in limit.scope else None
    if one.name in quotas:
        return f"{whose} changes nothing: in the tier `{tier.name}` that is a quota."
    alone = f"{whose} is a limit of this account alone: the tier `{tier.name}` has none of that name."
    return alone if one.key is None else None  # a cap of a key is meant to be new

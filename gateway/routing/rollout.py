"""Limits, quotas and concurrency limits that are enforced for some accounts, and shadows for the others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

from gateway.model.policies import ConcurrencyLimit, Limit, Quota, Tier
from gateway.model.principal import Principal

Bound = TypeVar("Bound", Limit, Quota, ConcurrencyLimit)


class Rollout:
    """Which accounts `enforce` is about: the same in every worker and after every restart.

    An account for whom 10 % is enforced is among those of every higher percentage, and of all limits,
    quotas and concurrency limits alike. Falsy when there is nothing to tell apart.
    """

    def __init__(self, tiers: Iterable[Tier]) -> None:
        percents = {0, 100}
        for tier in tiers:
            percents |= {one.enforce for one in tier.limits} | {one.enforce for one in tier.quotas}
            percents |= {one.enforce for one in tier.concurrency}
        self._steps = sorted(percents - {0, 100})

    def __bool__(self) -> bool:
        return bool(self._steps)

    def terms(self, principal: Principal) -> str:
        """The same for all who pay alike, see `Principal.terms`."""
        return f"{principal.terms} {self._least(principal.account)}%"

    def tier(self, tier: Tier, account: str) -> Tier:
        """The tier as it holds for this account: each of its limits is enforced or a shadow."""
        least = self._least(account)

        def held(one: Bound) -> Bound:
            return replace(one, enforce=100 if one.enforce >= least else 0)

        return replace(
            tier,
            limits=tuple(map(held, tier.limits)),
            quotas=tuple(map(held, tier.quotas)),
            concurrency=tuple(map(held, tier.concurrency)),
        )

    def _least(self, account: str) -> int:
        """What is enforced for this percentage or more is enforced for the account."""
        passed = bisect_right(self._steps, percentile(account))
        return self._steps[passed] if passed < len(self._steps) else 100


@lru_cache(maxsize=4096)
def percentile(account: str) -> int:
    """0 to 99: where an account stands among all."""
    digest = blake2b(account.encode(), digest_size=8, person=b"tollway.rollout").digest()
    return int.from_bytes(digest, "big") * 100 >> 64

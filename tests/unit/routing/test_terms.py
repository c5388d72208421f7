from __future__ import annotations

import pytest

from gateway.model.periods import Period
from gateway.model.policies import Limit, Quota, Tier
from gateway.model.principal import Override
from gateway.routing.terms import with_overrides

KEY = ("account", "key")
POOL, PER_KEY = Limit("pool", 60, 60_000, 20), Limit("per-key", 6, 1000, 9, KEY)
TIER = Tier(
    "team", "Team", None, (POOL, PER_KEY), (Quota("monthly", "api_calls", 9, Period.MONTH),), frozenset()
)


def rate(name: str, *, of_key: bool = False) -> Override:
    return Override(name, of_key, 7, 1000, 70)


@pytest.mark.parametrize(
    ("case", "override", "limits"),
    [
        ("an account's limit", rate("pool"), (Limit("pool", 7, 1000, 70), PER_KEY)),
        ("a cap for all keys", rate("per-key"), (POOL, Limit("per-key", 7, 1000, 70, KEY))),
        ("a key's cap", rate("per-key", of_key=True), (POOL, Limit("per-key", 7, 1000, 70, KEY))),
        ("a key can not change the pool", rate("pool", of_key=True), (POOL, PER_KEY)),
        ("one more limit", rate("more"), (POOL, PER_KEY, Limit("more", 7, 1000, 70))),
        ("a cap of one key", rate("mine", of_key=True), (POOL, PER_KEY, Limit("mine", 7, 1000, 70, KEY))),
        ("a quota is no limit", rate("monthly"), (POOL, PER_KEY)),
    ],
)
def test_limits(case: str, override: Override, limits: tuple[Limit, ...]) -> None:
    assert with_overrides(TIER, [override]).limits == limits
    assert with_overrides(TIER, [override]).quotas == TIER.quotas


def test_a_quota_s_amount() -> None:
    (quota,) = with_overrides(TIER, [Override("monthly", of_key=False, amount=50)]).quotas
    assert quota == Quota("monthly", "api_calls", 50, Period.MONTH)
    assert with_overrides(TIER, [Override("weekly", of_key=False, amount=50)]) == TIER


def test_a_key_s_cap_comes_after_its_account_s() -> None:
    both = with_overrides(TIER, [rate("per-key"), Override("per-key", True, 1, 1000, 1)])
    assert both.limits == (POOL, Limit("per-key", 1, 1000, 1, KEY))

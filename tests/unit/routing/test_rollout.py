"""Who is among the accounts for whom something is enforced."""

from __future__ import annotations

from dataclasses import replace

from gateway.model.periods import Period
from gateway.model.policies import ConcurrencyLimit, Limit, Quota, Tier
from gateway.model.principal import Mode, Principal
from gateway.routing.rollout import Rollout, percentile

ACCOUNTS = [f"acct_{number}" for number in range(4000)]


def tier(*percents: int) -> Tier:
    limits = tuple(Limit(f"l{percent}", 1, 1000, 1, enforce=percent) for percent in percents)
    quotas = (Quota("q", "api_calls", 1, Period.DAY, percents[-1]),)
    slots = (ConcurrencyLimit("s", 1, enforce=percents[0]),)
    return Tier("t", "T", None, limits, quotas, frozenset(), concurrency=slots)


def enforced(rollout: Rollout, one: Tier, account: str) -> set[str]:
    held = rollout.tier(one, account)
    assert {limit.enforce for limit in held.limits} <= {0, 100}
    return {limit.name for limit in held.limits if not limit.shadow}


def test_percent_of_the_accounts_are_among_them_and_stay_when_it_grows() -> None:
    one = tier(0, 1, 10, 50, 99, 100)
    rollout = Rollout([one])
    among = [enforced(rollout, one, account) for account in ACCOUNTS]
    shares = {percent: sum(f"l{percent}" in names for names in among) / 40 for percent in (1, 10, 50, 99)}
    for percent, share in shares.items():
        assert abs(share - percent) < 3
    for names in among:
        assert "l100" in names
        assert "l0" not in names
        assert ("l10" in names) >= ("l1" in names)
        assert ("l50" in names) >= ("l10" in names)


def test_an_account_is_on_the_same_side_whatever_else_the_policies_hold() -> None:
    alone, beside = Rollout([tier(10)]), Rollout([tier(10), tier(3, 10, 80)])
    for account in ACCOUNTS[:200]:
        assert enforced(alone, tier(10), account) == enforced(beside, tier(10), account)


def test_every_process_agrees() -> None:
    assert [percentile(account) for account in ("", "acct_1", "acct_2")] == [0, 8, 86]
    assert {percentile(account) for account in ACCOUNTS} == set(range(100))


def test_nothing_to_tell_apart() -> None:
    assert not Rollout([tier(0, 100)])
    assert Rollout([tier(0, 100), tier(1)])


def test_concurrency_limits_too() -> None:
    one = tier(50)
    rollout = Rollout([replace(one, limits=(), quotas=())])
    held = [rollout.tier(one, account) for account in ACCOUNTS[:200]]
    assert {each.concurrency[0].enforce for each in held} == {0, 100}
    assert all(each.concurrency[0].shadow == each.limits[0].shadow for each in held)


def test_quotas_too_and_terms_tell_who_pays_alike() -> None:
    one = tier(50)
    rollout = Rollout([one])
    terms: dict[str, set[int]] = {}
    for account in ACCOUNTS[:200]:
        who = Principal(1, account, 1, "key_1", "t", Mode.LIVE, b"")
        terms.setdefault(rollout.terms(who), set()).add(rollout.tier(one, account).quotas[0].enforce)
    assert sorted(terms.values(), key=min) == [{0}, {100}]

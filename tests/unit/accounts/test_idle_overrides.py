from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.accounts.idle_overrides import check_there_is, warnings
from gateway.accounts.overrides import StoredOverride
from gateway.errors import NotFound
from gateway.model.principal import Override
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources

POLICIES = b"""
upstreams: {u: {targets: [http://u]}}
tiers:
  free:
    limits:
      - {name: burst, rate: 1/second, burst: 5}
      - {name: each, rate: 1/second, burst: 5, scope: [account, key]}
    quotas: [{name: monthly, meter: api_calls, amount: 10, per: month}]
    concurrency: [{name: builds, max: 1}]
  team: {}
routes: [{name: all, match: {path: /**}, upstream: u}]
"""
IN_USE = compile_sources(Sources((("a.yaml", POLICIES),))).policies
assert IN_USE is not None
LIMIT, AMOUNT = (1, 1000, 5, None), (0, 0, 0, 7)


@pytest.mark.parametrize(
    ("case", "name", "figures", "refusal"),
    [
        ("a limit", "burst", LIMIT, None),
        ("a quota", "monthly", AMOUNT, None),
        ("a limit that is new", "deal", LIMIT, None),
        ("a quota that is not there", "mothly", AMOUNT, "`mothly` is no quota. The policies in use have"),
        ("an amount for a limit", "burst", AMOUNT, "`burst` is a limit: give rate and burst."),
        ("a rate for a quota", "monthly", LIMIT, "`monthly` is a quota: give its amount."),
        ("a concurrency limit", "builds", LIMIT, "`builds` is a concurrency limit"),
    ],
)
def test_what_can_be_overridden(
    case: str, name: str, figures: tuple[int, int, int, int | None], refusal: str | None
) -> None:
    assert IN_USE is not None
    override = Override(name, False, *figures)
    if refusal is None:
        check_there_is(override, IN_USE)
        return
    with pytest.raises(NotFound) as caught:
        check_there_is(override, IN_USE)
    assert str(caught.value).startswith(refusal), case


@pytest.mark.parametrize(
    ("case", "name", "key", "amount", "tier", "said"),
    [
        ("a limit of the tier", "burst", None, None, "free", ""),
        ("a quota of the tier", "monthly", None, 7, "free", ""),
        ("a new cap of a key", "cap", "key_1", None, "free", ""),
        ("a limit that tells keys apart", "each", "key_1", None, "free", ""),
        ("a new limit", "brust", None, None, "free", "`brust` is a limit of this account alone"),
        ("a quota of another tier", "monthly", None, 7, "team", "`monthly` changes nothing: the tier `team`"),
        ("a limit called like a quota", "monthly", None, None, "free", "`monthly` changes nothing: in the"),
        ("a key's, of what counts all", "burst", "key_1", None, "free", "`burst` of key_1 changes nothing"),
        ("a tier that nobody knows", "burst", None, None, "gone", ""),
    ],
)
def test_what_is_odd(case: str, name: str, key: str | None, amount: int | None, tier: str, said: str) -> None:
    assert IN_USE is not None
    rate, burst = (None, None) if amount else ("1/second", 5)
    one = StoredOverride(name, key, rate, burst, amount, datetime(2026, 1, 1, tzinfo=UTC))
    told = warnings([one], IN_USE.tiers.get(tier))
    assert [text[: len(said)] for text in told] == ([said] if said else []), case

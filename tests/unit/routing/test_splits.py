from __future__ import annotations

from collections import Counter

import pytest

from gateway.model.policies import Route
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources
from gateway.routing import splits as module
from gateway.routing.splits import Splits

ACCOUNTS = [f"acct_{number}" for number in range(2000)]


def _route(name: str, **weights: int) -> Route:
    sides = ", ".join(f"{{upstream: {upstream}, weight: {weight}}}" for upstream, weight in weights.items())
    text = f"""
upstreams: {{old: {{targets: [http://a]}}, new: {{targets: [http://b]}}, third: {{targets: [http://c]}}}}
tiers: {{t: {{}}}}
routes:
  - {{name: {name}, match: {{path: /**}}, split: [{sides}]}}
"""
    policies = compile_sources(Sources((("a.yaml", text.encode()),))).policies
    assert policies is not None
    return policies.routes[0]


def _sides(route: Route) -> dict[str, str]:
    splits = Splits()
    return {account: splits.side(route, account, b"1").upstream.name for account in ACCOUNTS}


def test_each_account_has_one_side_by_weight() -> None:
    sides = _sides(_route("r", old=90, new=10))
    assert 130 < Counter(sides.values())["new"] < 270
    assert _sides(_route("r", old=90, new=10)) == sides, "in another worker"
    assert _sides(_route("other", old=9, new=1)) == sides, "on another route"


def test_remembered_or_not_an_account_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    route, splits = _route("r", old=1, new=1), Splits()
    first = [splits.side(route, account, b"1") for account in ACCOUNTS[:50]]
    assert [splits.side(route, account, b"2") for account in ACCOUNTS[:50]] == first
    assert len(splits._sides) <= 3


def test_routes_are_not_mixed_up() -> None:
    splits = Splits()
    for route in (_route("r", old=1, new=1), _route("s", old=1, third=1)):
        names = {side.route.upstream.name for side in route.split}
        assert {splits.side(route, account, b"1").upstream.name for account in ACCOUNTS} == names


def test_when_a_weight_grows_accounts_move_there_and_nowhere_else() -> None:
    before, after = _sides(_route("r", old=95, new=5)), _sides(_route("r", old=80, new=20))
    moved = {after[account] for account in ACCOUNTS if before[account] != after[account]}
    assert moved == {"new"}


def test_without_an_account_each_call_is_chosen_for_by_itself() -> None:
    route, splits = _route("r", old=1, new=1), Splits()
    sides = Counter(splits.side(route, "", b"%d" % number).upstream.name for number in range(400))
    assert 140 < sides["new"] < 260
    assert not splits._sides

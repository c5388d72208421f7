from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.model.overage import Overage
from gateway.model.periods import Period
from gateway.model.policies import AdmissionMode, Limit, PolicySet, Quota, Route
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources
from gateway.routing.plans import Charged, Plans, Upgrades, plan_id, policy_header

TIERS = """
upstreams: {u: {targets: [http://u]}}
meters: {tokens: {unit: token}}
tiers:
  free:
    limits: [{name: burst, rate: 60/minute, burst: 20}]
    quotas: [{meter: api_calls, amount: 1000, per: month}, {meter: tokens, amount: 50, per: day}]
  chatty: {extends: free, quotas: [{meter: tokens, amount: 500, per: day}]}
  team: {extends: chatty, limits: [{name: burst, rate: 300/minute, burst: 60}], features: [export]}
  slower: {extends: team, limits: [{name: burst, rate: 1/minute, burst: 1}], features: [sso]}
  endless: {features: [export, sso]}
routes:
  - {name: calls, match: {path: /a}, upstream: u}
  - {name: same, match: {path: /b}, upstream: u, charges: {api_calls: 1, tokens: 0}}
  - {name: dear, match: {path: /c}, upstream: u, charges: {api_calls: 5}}
  - {name: tokens, match: {path: /d}, upstream: u, charges: {tokens: 2}}
  - {name: free-of-charge, match: {path: /e}, upstream: u, charges: {}}
"""


def _policies(extra: str = "") -> PolicySet:
    policies = compile_sources(Sources((("a.yaml", (TIERS + extra).encode()),))).policies
    assert policies is not None
    return policies


def _plans(policies: PolicySet) -> Plans:
    return Plans(policies, Upgrades(policies, "http://portal"))


ROUTES = {route.name: route for route in _policies().routes}


def test_a_plan_holds_every_limit_and_the_quotas_that_are_charged() -> None:
    policies = _policies("admission: {mode: exact, on_store_loss: allow}\n")
    plan = _plans(policies).plan(policies.tiers["free"], ROUTES["dear"])
    assert plan.tier is policies.tiers["free"]
    assert plan.limits == (Limit("burst", 60, 60_000, 20),)
    assert plan.quotas == ((Quota("api_calls", "api_calls", 1000, Period.MONTH), 5),)
    assert plan.mode is policies.admission_mode
    assert plan.on_store_loss is policies.on_store_loss


def test_equal_charges_of_a_tier_are_one_object() -> None:
    policies = _policies()
    plans, free = _plans(policies), policies.tiers["free"]
    assert plans.plan(free, ROUTES["calls"]) is plans.plan(free, ROUTES["same"])
    assert plans.plan(free, ROUTES["calls"]) is not plans.plan(free, ROUTES["dear"])
    assert plans.plan(free, ROUTES["calls"]) is not plans.plan(policies.tiers["chatty"], ROUTES["calls"])


def test_the_id_follows_the_charges_and_nothing_else() -> None:
    first, second = _policies(), _policies("upgrade_url: https://example.com\nadmission: {mode: exact}\n")
    for route in ROUTES.values():
        for name in first.tiers:
            before = _plans(first).plan(first.tiers[name], route)
            after = _plans(second).plan(second.tiers[name], route)
            assert before.id == after.id
    plans = _plans(first)
    ids = [plans.plan(first.tiers["free"], route).id for route in ROUTES.values()]
    assert len(set(ids)) == 4, "calls and same are one"
    assert plans.plan(first.tiers["chatty"], ROUTES["calls"]).id == ids[0], "whatever the tier is called"


def test_the_id_is_the_same_in_every_release() -> None:
    charged = Charged((Limit("burst", 60, 60_000, 20),), ((Quota("q", "api_calls", 5, Period.DAY), 2),))
    assert plan_id(charged) == "a45a1286ffaa7a6b"


@pytest.mark.parametrize(
    ("case", "tier", "route", "line"),
    [
        (
            "a month has no window",
            "free",
            "calls",
            b'RateLimit-Policy: "burst";q=60;w=60;tollway-burst=20,"api_calls";q=1000\r\n',
        ),
        (
            "a day has one, and tokens are no requests",
            "free",
            "tokens",
            b'RateLimit-Policy: "burst";q=60;w=60;tollway-burst=20,"tokens";q=50;w=86400;qu="token"\r\n',
        ),
        (
            "limits hold without quotas",
            "free",
            "free-of-charge",
            b'RateLimit-Policy: "burst";q=60;w=60;tollway-burst=20\r\n',
        ),
        ("nothing is charged", "endless", "calls", b""),
    ],
)
def test_the_policy_line(case: str, tier: str, route: str, line: bytes) -> None:
    policies = _policies()
    assert _plans(policies).plan(policies.tiers[tier], ROUTES[route]).policy_header == line


def test_the_policy_line_says_which_quotas_let_calls_pass() -> None:
    soft = Quota("fair", "api_calls", 9, Period.DAY, soft=True)
    dearer = Quota("more", "api_calls", 99, Period.MONTH, overage=Overage(10, "USD", 1000))
    charged = Charged((), ((soft, 1), (dearer, 1)))
    assert policy_header(charged, _policies()) == (
        b'RateLimit-Policy: "fair";q=9;w=86400;tollway-soft,"more";q=99;tollway-overage\r\n'
    )
    assert not charged.refuses, "nobody is refused, not even while Redis is gone"


def test_what_happens_beyond_a_quota_makes_another_plan() -> None:
    plain = Quota("q", "api_calls", 9, Period.DAY)
    kinds = [plain, replace(plain, soft=True), replace(plain, notify=(50,)), replace(plain, notify=())]
    assert len({plan_id(Charged((), ((kind, 1),))) for kind in kinds}) == 4


def test_odd_names_could_not_break_out_of_the_line() -> None:
    charged = Charged((Limit('a"b\\c', 1, 1000, 1),), ())
    assert policy_header(charged, _policies()) == (
        b'RateLimit-Policy: "a\\"b\\\\c";q=1;w=1;tollway-burst=1\r\n'
    )


@pytest.mark.parametrize(
    ("case", "tier", "route", "upgrade"),
    [
        ("more calls", "free", "calls", "team"),
        ("more tokens come earlier", "free", "tokens", "chatty"),
        ("a slower tier is no upgrade, one without limits is", "team", "calls", "endless"),
        ("the last one has nowhere to go", "endless", "calls", None),
        ("limits alone", "free", "free-of-charge", "team"),
    ],
)
def test_the_first_later_tier_that_allows_more(case: str, tier: str, route: str, upgrade: str | None) -> None:
    policies = _policies()
    plan = _plans(policies).plan(policies.tiers[tier], ROUTES[route])
    assert plan.upgrade_url == (f"http://portal/tiers?upgrade={upgrade}" if upgrade else None)


@pytest.mark.parametrize(
    ("case", "features", "upgrade"),
    [
        ("one feature", {"export"}, "team"),
        ("inherited and own", {"export", "sso"}, "slower"),
        ("nobody has it", {"export", "gold"}, None),
    ],
)
def test_the_first_later_tier_with_the_features(case: str, features: set[str], upgrade: str | None) -> None:
    policies = _policies()
    url = Upgrades(policies, "http://portal/").with_features(policies.tiers["free"], frozenset(features))
    assert url == (f"http://portal/tiers?upgrade={upgrade}" if upgrade else None)


def test_earlier_tiers_are_no_upgrade() -> None:
    policies = _policies()
    upgrades = Upgrades(policies, "http://portal")
    assert upgrades.with_features(policies.tiers["endless"], frozenset({"export"})) is None


def test_the_operators_own_page_wins() -> None:
    policies = _policies("upgrade_url: https://example.com/{tier}?from={tier}\n")
    plan = _plans(policies).plan(policies.tiers["free"], ROUTES["calls"])
    assert plan.upgrade_url == "https://example.com/team?from=team"


COSTLY = """
upstreams: {u: {targets: [http://u]}}
meters: {tokens: {unit: token}}
tiers:
  free:
    limits:
      - {name: burst, rate: 60/minute, burst: 20}
      - {name: dear, rate: 60/minute, burst: 20, routes: [b, c]}
      - {name: per-address, rate: 60/minute, burst: 20, scope: ip, routes: [c]}
      - {name: per-key, rate: 60/minute, burst: 20, scope: key, routes: [d]}
    quotas: [{meter: api_calls, amount: 1000, per: month}]
routes:
  - {name: a, match: {path: /a}, upstream: u, cost: 0}
  - {name: b, match: {path: /b}, upstream: u, cost: 3}
  - {name: c, match: {path: /c}, upstream: u}
  - {name: d, match: {path: /d}, upstream: u, cost: {methods: {PUT: 2}}}
  - name: e
    match: {path: /e}
    upstream: u
    charges: {api_calls: {methods: {GET: 0}}, tokens: {units: 0, per_kib: 2}}
"""


def _costly() -> tuple[Plans, PolicySet, dict[str, Route]]:
    policies = compile_sources(Sources((("a.yaml", COSTLY.encode()),))).policies
    assert policies is not None
    return _plans(policies), policies, {route.name: route for route in policies.routes}


@pytest.mark.parametrize(
    ("route", "limits", "cost"),
    [
        ("a", [], 1),
        ("b", ["burst", "dear"], 3),
        ("c", ["burst", "dear", "per-address"], 1),
        ("d", ["burst", "per-key"], 1),
    ],
)
def test_limits_of_a_route_and_what_it_takes_of_them(route: str, limits: list[str], cost: int) -> None:
    plans, policies, routes = _costly()
    plan = plans.plan(policies.tiers["free"], routes[route])
    assert ([limit.name for limit in plan.limits], plan.cost) == (limits, cost)


def test_who_buys_ahead_and_who_does_not() -> None:
    plans, policies, routes = _costly()
    modes = {name: plans.plan(policies.tiers["free"], route).mode for name, route in routes.items()}
    assert [name for name, mode in modes.items() if mode is AdmissionMode.EXACT] == ["c"]
    scoped = {name: plans.plan(policies.tiers["free"], route).scoped for name, route in routes.items()}
    assert [name for name in scoped if scoped[name]] == ["c", "d"]


def test_costs_by_method_and_size() -> None:
    plans, policies, routes = _costly()
    free = policies.tiers["free"]
    assert plans.plan(free, routes["d"], "PUT").cost == 2
    assert plans.plan(free, routes["d"], "GET").cost == 1
    post = plans.plan(free, routes["e"], "POST", 1025)
    assert [cost for _, cost in post.quotas] == [1]
    assert post.units == {"api_calls": 1, "tokens": 4}
    assert plans.plan(free, routes["e"], "HEAD", 0).quotas == ()
    assert post.id != plans.plan(free, routes["e"], "POST", 9999).id
    assert post is plans.plan(free, routes["e"], "POST", 2048)


@pytest.mark.parametrize("dialect", ["legacy", "off"])
def test_how_limits_are_told_is_part_of_the_plan(dialect: str) -> None:
    policies = _policies(f"admission: {{headers: {dialect}, retry_jitter: 2s}}\n")
    plan = _plans(policies).plan(policies.tiers["free"], ROUTES["dear"])
    assert (plan.fields.value, plan.retry_jitter_ms, plan.policy_header) == (dialect, 2000, b"")
    usual = _plans(_policies()).plan(policies.tiers["free"], ROUTES["dear"])
    assert plan.id != usual.id, "a lease bought for the one does not speak for the other"


OF_TIERS = """
tiers:
  a: {limits: [{name: l, rate: 9/second, burst: 99}]}
  b: {extends: a, admission: exact}
  c: {extends: b}
  d: {extends: c, admission: auto}
upstreams: {u: {targets: [http://u]}}
routes: [{name: all, match: {path: /**}, upstream: u}]
"""


@pytest.mark.parametrize(
    ("extra", "modes"),
    [("", "auto exact exact auto"), ("admission: {mode: exact}\n", "exact exact exact auto")],
)
def test_a_tier_may_be_decided_in_another_way_and_hands_that_down(extra: str, modes: str) -> None:
    policies = compile_sources(Sources((("a.yaml", (OF_TIERS + extra).encode()),))).policies
    assert policies is not None
    plans = _plans(policies)
    made = [plans.plan(tier, policies.routes[0]).mode.value for tier in policies.tiers.values()]
    assert " ".join(made) == modes

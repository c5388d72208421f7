from __future__ import annotations

from typing import cast

import pytest

from gateway.errors import FeatureRequired, LengthRequired, NoRoute, TierUnknown
from gateway.model.enforcement import POLICIES_ALONE, Enforcement, Enforcing, Switch
from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.model.own_answer import OwnAnswer
from gateway.model.policies import OnStoreLoss
from gateway.model.principal import Mode, Override, Principal
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources
from gateway.routing import table as module
from gateway.routing.path import canonical_path
from gateway.routing.table import RoutingTable

POLICIES = b"""
upstreams: {u: {targets: [http://u]}, v: {targets: [http://v]}}
tiers:
  free: {quotas: [{meter: api_calls, amount: 10, per: month}], features: [read]}
  team: {features: [read, export]}
routes:
  - {name: exports, match: {methods: [GET], path: /exports/**}, upstream: u, requires: [read, export]}
  - {name: verb, match: {path: "/things:export"}, upstream: u, requires: [export]}
  - {name: hosted, match: {path: /h, hosts: [api.example.com]}, upstream: u}
  - {name: items, match: {path: /items/**}, upstream: u}
  - {name: split, match: {path: /split}, split: [{upstream: u, weight: 1}, {upstream: v, weight: 1}]}
  - name: sized
    match: {path: /sized}
    upstream: u
    cost: {per_kib: 1}
    charges: {api_calls: {methods: {PUT: 3}}}
  - {name: read, match: {methods: [GET], path: /pages/**}, upstream: u, cors: pages}
  - {name: write, match: {methods: [POST, OPTIONS], path: /pages/**}, upstream: u}
  - {name: asked, match: {methods: [OPTIONS], path: /asked}, upstream: u, cors: pages}
  - {name: behind, match: {methods: [POST], path: /asked}, upstream: u}
cors:
  pages: {origins: [https://a.example]}
"""


def _table() -> RoutingTable:
    policies = compile_sources(Sources((("a.yaml", POLICIES),))).policies
    assert policies is not None
    return RoutingTable(policies, portal_url="http://portal")


def _head(method: str, path: str, host: str = "localhost") -> RequestHead:
    head = RequestHead()
    head.method, head.path, head.host = method, canonical_path(path.encode()), host
    return head


def _exchange(table: RoutingTable, path: str, tier: str) -> Exchange:
    exchange = Exchange(_head("GET", path), cast("Downstream", None), b"127.0.0.1")
    exchange.route = table.match(exchange.head)
    exchange.principal = Principal(1, "acct_1", 1, "key_1", tier, Mode.LIVE, b"")
    return exchange


@pytest.mark.parametrize(
    ("case", "method", "path", "host", "name"),
    [
        ("by path", "GET", "/items/1", "localhost", "items"),
        ("GET includes HEAD", "HEAD", "/exports/1", "localhost", "exports"),
        ("by host", "GET", "/h", "api.example.com", "hosted"),
        ("by host with the root's dot", "GET", "/h", "api.example.com.", "hosted"),
        ("an encoded colon is a colon", "GET", "/things%3aexport", "localhost", "verb"),
        ("a detour", "GET", "/items/../exports/1", "localhost", "exports"),
    ],
)
def test_a_head_is_matched(case: str, method: str, path: str, host: str, name: str) -> None:
    table = _table()
    head = _head(method, path, host)
    assert table.match(head).name == name
    assert table.match(head).name == name, "also when it is remembered"


@pytest.mark.parametrize(
    ("case", "method", "path", "host"),
    [
        ("no such path", "GET", "/nowhere", "localhost"),
        ("not this method", "POST", "/exports/1", "localhost"),
        ("not this host", "GET", "/h", "localhost"),
    ],
)
def test_no_route(case: str, method: str, path: str, host: str) -> None:
    table = _table()
    for _ in range(2):
        with pytest.raises(NoRoute):
            table.match(_head(method, path, host))


def test_strangers_can_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 8)
    table = _table()
    for number in range(100):
        table.match(_head("GET", f"/items/{number}"))
        assert len(table._matched) <= 8
    table._matched.clear()
    assert table.match(_head("GET", "/items/" + "x" * 5000)).name == "items"
    assert table.match(_head("GET", "/items/1", "x" * 5000)).name == "items"
    assert not table._matched


def test_what_a_call_pays_is_noted_on_the_exchange() -> None:
    table = _table()
    exchange = _exchange(table, "/items/1", "free")
    plan = table.charges(exchange)
    assert exchange.charges is plan
    assert [(quota.name, cost) for quota, cost in plan.quotas] == [("api_calls", 1)]
    assert plan.upgrade_url == "http://portal/tiers?upgrade=team"
    assert table.charges(_exchange(table, "/items/2", "free")) is plan


def test_a_call_on_a_split_route_takes_the_side_of_its_account() -> None:
    table = _table()
    calls = [_exchange(table, "/split", "free") for _ in range(40)]
    for number, exchange in enumerate(calls):
        exchange.principal = Principal(number, f"acct_{number}", number, "key_1", "free", Mode.LIVE, b"")
    plans = {table.charges(exchange) for exchange in calls}
    sides = [exchange.route.upstream.name for exchange in calls if exchange.route]
    assert set(sides) == {"u", "v"}
    assert {exchange.route.name for exchange in calls if exchange.route} == {"split"}
    assert len(plans) == 1, "what it pays does not depend on the side"
    again = [_exchange(table, "/split", "free") for _ in range(40)]
    for before, exchange in zip(calls, again, strict=True):
        exchange.principal = before.principal
        table.charges(exchange)
        assert exchange.route is before.route


def test_what_depends_on_method_and_size_is_worked_out_for_each_call() -> None:
    table = _table()
    exchange = _exchange(table, "/sized", "free")
    assert table.charges(exchange).quotas[0][1] == 1
    exchange.head.method, exchange.head.content_length = "PUT", 5000
    plan = table.charges(exchange)
    assert (plan.quotas[0][1], plan.cost, plan.units) == (3, 6, {"api_calls": 3})


def test_where_size_matters_it_must_be_told() -> None:
    table = _table()
    exchange = _exchange(table, "/sized", "free")
    exchange.head.chunked = True
    with pytest.raises(LengthRequired):
        table.charges(exchange)
    items = _exchange(table, "/items/1", "free")
    items.head.chunked = True
    table.charges(items)


def test_a_tier_that_has_the_features_passes() -> None:
    table = _table()
    assert table.charges(_exchange(table, "/exports/1", "team")).tier.name == "team"


def test_a_missing_feature_names_it_and_where_to_get_it() -> None:
    table = _table()
    for _ in range(2):
        exchange = _exchange(table, "/exports/1", "free")
        with pytest.raises(FeatureRequired) as refusal:
            table.charges(exchange)
        assert exchange.charges is None
        assert refusal.value.detail == "Your tier does not include `export`."
        assert refusal.value.extensions == {
            "required": ["export", "read"],
            "tier": "free",
            "upgrade_url": "http://portal/tiers?upgrade=team",
        }


def test_an_unknown_tier_is_our_fault_and_only_our_log_says_which() -> None:
    table = _table()
    with pytest.raises(TierUnknown) as refusal:
        table.charges(_exchange(table, "/items/1", "gone"))
    assert refusal.value.status == 503
    assert "gone" in refusal.value.internal
    assert "gone" not in refusal.value.detail


PREFLIGHT = b"Origin: https://a.example\r\nAccess-Control-Request-Method: "


@pytest.mark.parametrize(
    ("case", "path", "lines", "route"),
    [
        ("the method that is asked for", "/pages/1", PREFLIGHT + b"GET\r\n", "read"),
        ("GET includes HEAD", "/pages/1", PREFLIGHT + b"HEAD\r\n", "read"),
    ],
)
def test_a_preflight_belongs_to_the_route_of_the_call_it_is_about(
    case: str, path: str, lines: bytes, route: str
) -> None:
    table = _table()
    head = _head("OPTIONS", path)
    head.lines = [lines]
    for _ in range(2):
        with pytest.raises(OwnAnswer) as answer:
            table.match(head)
        assert answer.value.route is not None
        assert answer.value.route.name == route
        assert b"Access-Control-Allow-Origin: https://a.example\r\n" in answer.value.lines
        assert b"Access-Control-Allow-Methods: GET, HEAD\r\n" in answer.value.lines


@pytest.mark.parametrize(
    ("case", "path", "lines", "route"),
    [
        ("the call's route has no CORS", "/pages/1", PREFLIGHT + b"POST\r\n", "write"),
        ("no route takes the call", "/pages/1", PREFLIGHT + b"DELETE\r\n", "write"),
        ("a method in lower case is another", "/pages/1", PREFLIGHT + b"get\r\n", "write"),
        ("CORS of OPTIONS does not count for POST", "/asked", PREFLIGHT + b"POST\r\n", "asked"),
        ("no origin", "/pages/1", b"Access-Control-Request-Method: GET\r\n", "write"),
        ("two origins", "/pages/1", b"Origin: b\r\n" + PREFLIGHT + b"GET\r\n", "write"),
        ("not asked for a method", "/pages/1", b"Origin: https://a.example\r\n", "write"),
        ("bytes for a method", "/pages/1", PREFLIGHT + b"\xff\r\n", "write"),
    ],
)
def test_other_options_are_matched_like_any_method(case: str, path: str, lines: bytes, route: str) -> None:
    head = _head("OPTIONS", path)
    head.lines = [lines]
    assert _table().match(head).name == route


def test_options_of_the_server_are_on_no_route() -> None:
    head = _head("OPTIONS", "/")
    head.path = "*"
    with pytest.raises(OwnAnswer) as answer:
        _table().match(head)
    assert answer.value.route is None
    assert answer.value.lines.startswith(b"Allow: GET, ")


def test_preflights_are_not_remembered() -> None:
    table = _table()
    head = _head("OPTIONS", "/pages/1")
    head.lines = [PREFLIGHT + b"GET\r\n"]
    with pytest.raises(OwnAnswer):
        table.match(head)
    assert table.match(_head("OPTIONS", "/pages/1")).name == "write"
    with pytest.raises(OwnAnswer):
        table.match(head)


def test_accounts_with_the_same_special_deal_share_a_plan() -> None:
    table = _table()
    deal = (Override("api_calls", of_key=False, amount=99),)
    plans = []
    for number, overrides in enumerate([deal, deal, ()]):
        exchange = _exchange(table, "/items/1", "free")
        exchange.principal = Principal(
            number, f"acct_{number}", number, "key_1", "free", Mode.LIVE, b"", overrides=overrides
        )
        plans.append(table.charges(exchange))
    assert plans[0] is plans[1]
    assert [plan.quotas[0][0].amount for plan in plans] == [99, 99, 10]
    assert plans[0].tier.name == "free"


def test_special_deals_can_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 8)
    table = _table()
    for amount in range(1, 50):
        exchange = _exchange(table, "/items/1", "free")
        deal = (Override("api_calls", of_key=False, amount=amount),)
        exchange.principal = Principal(1, "acct_1", 1, "key_1", "free", Mode.LIVE, b"", overrides=deal)
        assert table.charges(exchange).quotas[0][0].amount == amount
        assert len(table._known) <= 8


def test_what_operators_switched_is_another_plan_and_back_again_the_same() -> None:
    table = _table()
    plain = table.charges(_exchange(table, "/items/1", "free"))
    shadow = table.under(Enforcement((Switch(Enforcing.SHADOW),)))
    loose = shadow.charges(_exchange(shadow, "/items/1", "free"))
    assert [quota.shadow for quota, _ in loose.quotas] == [True]
    assert loose.id != plain.id
    assert (plain.on_store_loss, loose.on_store_loss) == (OnStoreLoss.REFUSE, OnStoreLoss.ALLOW)
    off = table.under(Enforcement((Switch(Enforcing.OFF, route="items"),)))
    assert off.charges(_exchange(off, "/items/1", "free")).quotas == ()
    assert off.charges(_exchange(off, "/pages/1", "free")) is plain
    back = shadow.under(POLICIES_ALONE)
    assert back.charges(_exchange(back, "/items/1", "free")) is plain


def test_switches_are_about_limits_and_nothing_else() -> None:
    table = _table().under(Enforcement((Switch(Enforcing.OFF),)))
    with pytest.raises(FeatureRequired):
        table.charges(_exchange(table, "/exports/1", "free"))

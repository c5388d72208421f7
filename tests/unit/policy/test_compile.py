from __future__ import annotations

from pathlib import Path

import pytest

from gateway.frames import MessageBounds
from gateway.model.access import KEYS_ONLY, Access
from gateway.model.costs import Cost
from gateway.model.periods import Period
from gateway.model.policies import (
    NO_LIMIT,
    AdmissionMode,
    Balance,
    Ejection,
    Health,
    HostHeader,
    Keepalive,
    Limit,
    LimitFields,
    Meter,
    OnFull,
    OnStoreLoss,
    PolicySet,
    Price,
    Quota,
    Retries,
    Target,
    Timeouts,
    Tls,
)
from gateway.policy.load import load_folder

VALID = Path(__file__).parents[2] / "policies" / "valid"


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> PolicySet:
    folder = tmp_path_factory.mktemp("policies")
    (folder / "a.yaml").write_bytes((VALID / "everything.yaml").read_bytes())
    policies = load_folder(folder).policies
    assert policies is not None
    return policies


def test_upstreams(policies: PolicySet) -> None:
    upstream = policies.upstreams["api"]
    assert upstream.targets == (
        Target("127.0.0.1", 9000),
        Target("::1", 9001),
        Target("api_1.internal", 80, 1000),
        Target("api.internal", 443, tls=True),
        Target("localhost", 80, 2, socket="/run/api/main.sock"),
    )
    assert upstream.balance is Balance.HASH_ACCOUNT
    assert upstream.health == Health("/healthz?deep=1", 1.0, 0.5, 1, 5)
    assert upstream.ejection == Ejection(3, 1.0, 60.0)
    assert upstream.retries == Retries(1, connect=True, stale=False, percent=5, at_least=0)
    assert upstream.tls == Tls(
        "/etc/tollway/ca.pem", "/etc/tollway/gateway.pem", "/etc/tollway/gateway.key", "api.internal"
    )
    assert upstream.timeouts == Timeouts(
        connect_s=0.5, response_s=60.0, idle_s=3600.0, total_s=86400.0, queue_s=0.25
    )
    assert upstream.host_header is HostHeader.CLIENT
    assert (upstream.max_connections, upstream.max_waiting) == (16, 12)
    assert upstream.keepalive == Keepalive(8, 50.0, 600.0, 1000, reuse_after_body=False)


def test_meters_hold_the_built_in_ones(policies: PolicySet) -> None:
    assert list(policies.meters) == [
        "api_calls",
        "ingress_bytes",
        "egress_bytes",
        "duration_ms",
        "messages",
        "tokens",
        "cents",
        "talk",
    ]
    assert policies.meters["tokens"] == Meter("tokens", "token")
    assert policies.meters["cents"] == Meter("cents", "cent", 1_000_000)


def test_tiers_with_what_they_inherit(policies: PolicySet) -> None:
    assert list(policies.tiers) == ["free", "paid", "visitor"]
    paid = policies.tiers["paid"]
    assert paid.title == "paid"
    assert paid.price == Price(2500, "EUR", "year")
    assert paid.limits == (
        Limit("burst", 5, 1000, 10),
        Limit("daily", 1000, 86_400_000, 1000, enforce=25),
        Limit("per-key", 1, 1000, 5, ("account", "key")),
        Limit("tenants", 9, 1000, 9, ("header:x-tenant", "ip", "route"), frozenset({"root", "write"})),
        Limit("tpm", 100_000, 60_000, 20_000, meter="tokens"),
    )
    assert paid.quotas == (
        Quota("api_calls", "api_calls", 1000, Period.MONTH),
        Quota("hourly", "api_calls", 100, Period.HOUR),
        Quota("tokens", "tokens", 10**15 - 1, Period.DAY, enforce=0),
    )
    at_once, tried, few, orgs, writes = paid.concurrency
    assert (at_once.enforce, tried.enforce, few.enforce, writes.enforce) == (100, 0, 10, 100)
    assert (at_once.bound, tried.bound, few.scope) == (10, NO_LIMIT, ("ip",))
    assert orgs.scope == ("account", "claim:https://acme.example/org")
    assert (writes.on_full, writes.wait_s) == (OnFull.QUEUE, 30)
    assert paid.features == {"read", "write"}
    assert policies.tiers["free"].title == "Free of charge"
    assert policies.tiers["free"].price is None


def test_routes_in_order_with_their_upstream(policies: PolicySet) -> None:
    write, encoded, root, canary, ask, moved = policies.routes
    assert write.path == "/api/*/items/**"
    assert write.methods == {"POST", "PUT"}
    assert write.hosts == {"api.example.com", "localhost"}
    assert write.upstream is policies.upstreams["api"]
    assert write.requires == {"read", "write"}
    assert write.charges == {"api_calls": 2, "tokens": 0}
    assert write.cost == Cost(1, {"POST": 3}, 2)
    assert write.forward_credentials
    assert write.addresses is not None
    asked = ("203.0.113.1", "203.0.113.66", "2001:db8::1", "192.0.2.7", "192.0.2.8")
    assert [write.addresses.admits(address) for address in asked] == [True, False, True, True, False]
    assert encoded.addresses is None
    assert encoded.charges == {}
    assert (encoded.raw, write.raw) == (False, True)
    assert root.methods == {"GET", "HEAD"}, "GET includes HEAD"
    assert root.charges == {"api_calls": 1}
    assert root.varying == {"tokens": Cost(1, {"GET": 4, "HEAD": 4})}
    assert not root.forward_credentials
    assert [route.max_body_bytes for route in policies.routes] == [10_000_000, NO_LIMIT, *[None] * 4]
    bounds = [MessageBounds(ingress=65536), MessageBounds(1_000_000, 1_000_000), *[None] * 4]
    assert [route.max_message for route in policies.routes] == bounds
    assert [route.min_bytes_per_s for route in policies.routes] == [0, 10_000, *[None] * 4]
    assert policies.routes[1].timeouts is None, "those of the upstream"
    assert [route.cors is not None for route in policies.routes] == [True, *[False] * 5]
    assert canary.hosts == {"*.example.com", "*.example.org", "example.com"}
    assert [(side.weight, side.route.upstream.name) for side in canary.split] == [(95, "api"), (5, "next")]
    assert moved.upstream is policies.upstreams["next"]
    assert ask.charges == {"api_calls": 1, "tokens": 2000, "cents": 1, "talk": 5}, "reserves"


def test_the_rest(policies: PolicySet) -> None:
    assert policies.admission_mode is AdmissionMode.EXACT
    assert policies.on_store_loss is OnStoreLoss.ALLOW
    assert (policies.limit_fields, policies.retry_jitter_ms) == (LimitFields.LEGACY, 1500)
    assert policies.upgrade_url == "https://example.com/pricing?tier={tier}#buy"


def test_legacy_fields_are_ours_alone(policies: PolicySet) -> None:
    sides = [side.route for route in policies.routes for side in route.split]
    for route in (*policies.routes, *sides):
        assert route.response_headers is not None
        kept = route.response_headers.apply([b"x-ratelimit-limit: 1\r\nX-RateLimit_Reset: 2\r\nA: b\r\n"])
        assert b"".join(kept).lower().count(b"x-ratelimit") == 0, route.name
        assert kept[0] == b"A: b\r\n"


def test_a_snapshot_can_not_be_changed(policies: PolicySet) -> None:
    for mapping in (policies.tiers, policies.meters, policies.upstreams, policies.routes[0].charges):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]  # that it fails is the point


def test_who_may_call(policies: PolicySet) -> None:
    write, *others = policies.routes
    assert (write.access.keys, write.access.anonymous) == (False, "visitor")
    assert [issuer.name for issuer in write.access.issuers] == ["acme", "ours", "theirs"]
    acme = write.access.issuers[0]
    assert (acme.algorithms, acme.tier_claim, dict(acme.required)) == (
        ("RS256", "RS512"),
        "plan",
        {"scope": ("read", "write")},
    )
    assert [route.access for route in others if route.access is not KEYS_ONLY] == [
        Access(query_key=b"api_key", scopes=frozenset({"projects:write", "read"}))
    ]

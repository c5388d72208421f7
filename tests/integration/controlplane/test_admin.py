"""Operators run the gateway through HTTP."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from gateway.accounts.store import Accounts
from gateway.clock import ManualClock
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool
from gateway.telemetry.slots import Slots

from .books import book, request_id
from .conftest import ADMIN_TOKEN, Client

DOCS = Path(__file__).parents[3] / "docs"
NOBODY = "acct_00000000000000000000"


async def ok(response: Any, status: int = 200) -> dict[str, Any]:
    """The JSON of an answer that is as expected."""
    assert response.status == status, await response.text()
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = await response.json()
    return document


async def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status == status, await response.text()
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(await response.read())
    assert document["code"] == code
    assert document["request_id"] == response.headers["Tollway-Request-Id"]
    return document


async def account(admin: Client, **changes: object) -> dict[str, Any]:
    return await ok(
        await admin.post("/admin/v1/accounts", json={"name": "Acme", "tier": "free", **changes}), 201
    )


def addresses(app: web.Application) -> list[tuple[str, str]]:
    """Method and address of every route, ids filled in."""
    found = []
    for route in app.router.routes():
        assert route.resource is not None
        found.append((route.method, re.sub(r"\{(\w+)[^}]*\}", r"{\1}", route.resource.canonical)))
    return sorted({one for one in found if one[0] != "HEAD"})


def test_every_address_is_documented(operator_app: web.Application, portal_app: web.Application) -> None:
    """And no address is that does not exist."""
    for document, app in (("admin-api.md", operator_app), ("portal-api.md", portal_app)):
        headings = re.findall(r"^### `(.+)`$", (DOCS / document).read_text(), re.MULTILINE)
        assert sorted(headings) == [f"{method} {address}" for method, address in addresses(app)]


async def test_nothing_of_the_admin_api_answers_without_the_token(
    stranger: Client, operator_app: web.Application, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.auth.guesses.Guesses.wrong", lambda *_: None)
    owner = await accounts.create_account("Acme", "free")
    _, customers_key = await accounts.create_key(owner.public_id)
    below = [one for one in addresses(operator_app) if one[1].startswith("/admin")]
    assert len(below) >= 11
    attempts = [
        *below,
        ("GET", "/admin/v1"),
        ("GET", "/admin/v1/"),
        ("GET", "/admin/v1/nothing"),
        ("DELETE", "/admin/v1/accounts"),
        ("GET", "/%61dmin/v1/accounts"),
    ]
    credentials = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {ADMIN_TOKEN}"},
        {"Authorization": f"Bearer {ADMIN_TOKEN}x"},
        {"Authorization": f"Bearer {customers_key}"},
        {"X-API-Key": ADMIN_TOKEN},
    ]
    for method, address in attempts:
        for headers in credentials:
            path = address.replace("{account}", owner.public_id).replace("{key}", "key_00000000000000000000")
            response = await stranger.request(method, path, headers=headers)
            await problem(response, 401, "unauthenticated")
            assert response.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_what_is_not_there_is_told_to_operators_only(admin: Client) -> None:
    await problem(await admin.get("/admin/v1/nothing"), 404, "not_found")
    response = await admin.delete("/admin/v1/accounts")
    await problem(response, 405, "method_not_allowed")
    assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


async def test_the_life_of_an_account(admin: Client) -> None:
    made = await account(admin, external_id="crm-7")
    assert (made["name"], made["tier"], made["status"], made["external_id"]) == (
        "Acme",
        "free",
        "active",
        "crm-7",
    )
    path = f"/admin/v1/accounts/{made['id']}"
    assert await ok(await admin.get(path)) == made
    changed = await ok(
        await admin.patch(path, json={"name": "Acme Ltd", "tier": "team", "status": "suspended"})
    )
    assert changed == {**made, "name": "Acme Ltd", "tier": "team", "status": "suspended"}
    assert await ok(await admin.patch(path, json={})) == changed
    await problem(
        await admin.post("/admin/v1/accounts", json={"name": "B", "tier": "free", "external_id": "crm-7"}),
        409,
        "conflict",
    )


async def test_a_new_account_says_where_it_is(admin: Client) -> None:
    response = await admin.post("/admin/v1/accounts", json={"name": "Acme", "tier": "free"})
    made = await ok(response, 201)
    assert (await ok(await admin.get(response.headers["Location"])))["id"] == made["id"]


async def test_accounts_are_listed_page_by_page(admin: Client) -> None:
    made = [await account(admin, name=f"number {number}") for number in range(5)]
    seen: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await ok(await admin.get(f"/admin/v1/accounts?limit=2{after}"))
        seen += page["data"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == made


async def test_the_life_of_a_key(admin: Client) -> None:
    owner = await account(admin)
    keys = f"/admin/v1/accounts/{owner['id']}/keys"
    made = await ok(await admin.post(keys, json={"name": "ci", "mode": "test"}), 201)
    secret = made.pop("secret")
    assert secret.startswith("tw_test_")
    assert made["last_four"] == secret[-4:]
    assert (made["account"], made["name"], made["mode"]) == (owner["id"], "ci", "test")

    rotated = await ok(await admin.post(f"/admin/v1/keys/{made['id']}/rotate", json={"overlap_s": 60}), 201)
    assert rotated.pop("secret") != secret
    listed = (await ok(await admin.get(keys)))["data"]
    assert [one["id"] for one in listed] == [made["id"], rotated["id"]]
    assert listed[0]["successor"] == rotated["id"]
    assert listed[0]["expires_at"] is not None

    revoked = await ok(await admin.post(f"/admin/v1/keys/{rotated['id']}/revoke"))
    assert revoked["revoked_at"] is not None
    assert await ok(await admin.post(f"/admin/v1/keys/{rotated['id']}/revoke")) == revoked
    everything = json.dumps([await ok(await admin.get(keys)), revoked])
    assert secret not in everything
    assert '"secret"' not in everything
    await problem(await admin.post(f"/admin/v1/keys/{made['id']}/rotate"), 409, "conflict")


async def test_keys_are_listed_page_by_page(admin: Client) -> None:
    owner = await account(admin)
    keys = f"/admin/v1/accounts/{owner['id']}/keys"
    made = [(await ok(await admin.post(keys), 201))["id"] for _ in range(3)]
    first = await ok(await admin.get(f"{keys}?limit=2"))
    second = await ok(await admin.get(f"{keys}?limit=2&after={first['next']}"))
    assert [one["id"] for one in (*first["data"], *second["data"])] == made
    assert second["next"] is None


@pytest.mark.parametrize(
    ("case", "body", "fields"),
    [
        ("nothing", {}, {"name", "tier"}),
        ("a tier that is not there", {"name": "A", "tier": "gold"}, {"tier"}),
        ("an empty name", {"name": " ", "tier": "free"}, {"name"}),
        ("a name with a line break", {"name": "A\r\nX-Evil: 1", "tier": "free"}, {"name"}),
        ("a name with a zero byte", {"name": "A\0", "tier": "free"}, {"name"}),
        ("a name with half a character", {"name": "\ud800", "tier": "free"}, {"name"}),
        ("a long name", {"name": "A" * 201, "tier": "free"}, {"name"}),
        ("a number for a name", {"name": 7, "tier": "free"}, {"name"}),
        ("an unknown field", {"name": "A", "tier": "free", "admin": True}, {"admin"}),
        ("a tier with a line break", {"name": "A", "tier": "free\r\n"}, {"tier"}),
    ],
)
async def test_an_account_that_can_not_be_made(
    admin: Client, case: str, body: dict[str, object], fields: set[str]
) -> None:
    document = await problem(await admin.post("/admin/v1/accounts", json=body), 422, "invalid")
    assert {one["field"] for one in document["errors"]} == fields, case
    assert (await ok(await admin.get("/admin/v1/accounts")))["data"] == []


async def test_an_unknown_tier_names_the_known_ones(admin: Client) -> None:
    made = await account(admin)
    document = await problem(
        await admin.patch(f"/admin/v1/accounts/{made['id']}", json={"tier": "gold"}), 422, "invalid"
    )
    assert document["errors"] == [
        {"field": "tier", "message": "is not in the policies in use; they have: free, team"}
    ]


@pytest.mark.parametrize(
    ("case", "body"),
    [
        ("an unknown status", {"status": "deleted"}),
        ("a good status beside a bad tier", {"status": "suspended", "tier": "gold"}),
        ("a good status beside a bad name", {"status": "suspended", "name": "\n"}),
        ("the id", {"id": "acct_1"}),
        ("null and nonsense", {"name": None, "nonsense": None}),
    ],
)
async def test_a_change_that_can_not_be_made_changes_nothing(
    admin: Client, case: str, body: dict[str, object]
) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}"
    await problem(await admin.patch(path, json=body), 422, "invalid")
    assert await ok(await admin.get(path)) == made, case


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/admin/v1/accounts/{NOBODY}"),
        ("PATCH", f"/admin/v1/accounts/{NOBODY}"),
        ("GET", f"/admin/v1/accounts/{NOBODY}/keys"),
        ("POST", f"/admin/v1/accounts/{NOBODY}/keys"),
        ("POST", "/admin/v1/keys/key_00000000000000000000/revoke"),
        ("POST", "/admin/v1/keys/key_00000000000000000000/rotate"),
        ("POST", f"/admin/v1/keys/{NOBODY}/revoke"),
        ("GET", "/admin/v1/accounts/acct_%00"),
        ("GET", "/admin/v1/accounts/acct_1'--"),
        ("GET", "/admin/v1/accounts/acct_%ff%fe"),
        ("GET", f"/admin/v1/accounts/acct_{'0' * 5000}"),
        ("GET", f"/admin/v1/usage?account={NOBODY}"),
        ("GET", f"/admin/v1/usage/events?account={NOBODY}"),
        ("GET", "/admin/v1/usage?account=%00"),
    ],
)
async def test_ids_that_are_not_there(admin: Client, method: str, path: str) -> None:
    await problem(await admin.request(method, path, json={} if method != "GET" else None), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/admin/v1/accounts?limit=0", "limit"),
        ("/admin/v1/accounts?limit=1001", "limit"),
        ("/admin/v1/accounts?limit=many", "limit"),
        ("/admin/v1/accounts?after=nobody", "after"),
        (f"/admin/v1/accounts?after={NOBODY}", "after"),
        ("/admin/v1/accounts?page=2", "page"),
        ("/admin/v1/usage?from=yesterday", "from"),
        ("/admin/v1/usage?from=2026-11-01T00:00:00+02:00", "from"),  # an unescaped plus is a space
        ("/admin/v1/usage?from=0001-01-01", "from"),
        ("/admin/v1/usage?to=9999-12-31T23:59:59Z", "to"),
        ("/admin/v1/usage?from=2026-11-02&to=2026-11-01", "to"),
        ("/admin/v1/usage?from=2026-11-01&to=2026-11-01", "to"),
        ("/admin/v1/usage?from=2026-01-01&bucket=hour", "from"),
        ("/admin/v1/usage?bucket=week", "bucket"),
        ("/admin/v1/usage?mode=both", "mode"),
        ("/admin/v1/usage?limit=10001", "limit"),
        ("/admin/v1/usage?after=nobody", "after"),
        ("/admin/v1/usage?after=%00", "after"),
        ("/admin/v1/usage/events?before=1", "before"),
        ("/admin/v1/usage/events?limit=100000", "limit"),
    ],
)
async def test_questions_that_can_not_be_answered(admin: Client, path: str, field: str) -> None:
    document = await problem(await admin.get(path), 422, "invalid")
    assert [one["field"] for one in document["errors"]] == [field]


@pytest.mark.parametrize("overlap", [-1, 10**12, "60", 1.5, True, None])
async def test_an_overlap_that_can_not_be(admin: Client, overlap: object) -> None:
    document = await problem(
        await admin.post("/admin/v1/keys/key_00000000000000000000/rotate", json={"overlap_s": overlap}),
        422,
        "invalid",
    )
    assert [one["field"] for one in document["errors"]] == ["overlap_s"]


async def test_usage_of_one_account_and_of_all(admin: Client, accounts: Accounts, pool: Pool) -> None:
    ours, theirs = (
        await accounts.create_account("Ours", "free"),
        await accounts.create_account("Theirs", "free"),
    )
    at = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
    await book(pool, ours.id, at, calls=3)
    await book(pool, theirs.id, at, calls=5, mode=Mode.TEST)
    document = await ok(await admin.get(f"/admin/v1/usage?account={ours.public_id}&bucket=day"))
    assert document == {
        "from": "2026-11-01T00:00:00.000Z",
        "to": "2026-11-21T12:00:00.000Z",
        "bucket": "day",
        "time_zone": "UTC",
        "data": [
            {
                "bucket_start": "2026-11-20T00:00:00.000Z",
                "account": ours.public_id,
                "key": None,
                "route": "all",
                "mode": "live",
                "outcome": "served",
                "meter": "api_calls",
                "quantity": 3,
                "events": 3,
            }
        ],
        "next": None,
    }
    everybody = await ok(await admin.get("/admin/v1/usage?from=2026-11-20&to=2026-11-21"))
    assert sorted(row["quantity"] for row in everybody["data"]) == [3, 5]
    assert {row["bucket_start"] for row in everybody["data"]} == {None}
    tests = await ok(await admin.get("/admin/v1/usage?mode=test"))
    assert [row["quantity"] for row in tests["data"]] == [5]
    earlier = await ok(await admin.get("/admin/v1/usage?from=2026-11-01&to=2026-11-20T10:00:00Z"))
    assert earlier["data"] == []


async def test_sums_are_listed_page_by_page(admin: Client, accounts: Accounts, pool: Pool) -> None:
    for number in range(5):
        account = await accounts.create_account(f"Customer {number}", "free")
        await book(pool, account.id, datetime(2026, 11, 20, 10, 30, tzinfo=UTC), calls=number + 1)
    path = "/admin/v1/usage?from=2026-11-01&limit=2"
    seen: list[int] = []
    after: str | None = ""
    while after is not None:
        page = await ok(await admin.get(path + (f"&after={after}" if after else "")))
        seen += [row["quantity"] for row in page["data"]]
        after = page["next"]
    assert seen == [1, 2, 3, 4, 5]


async def test_single_calls_are_listed_page_by_page(admin: Client, accounts: Accounts, pool: Pool) -> None:
    ours = await accounts.create_account("Ours", "free")
    await book(pool, ours.id, datetime(2026, 11, 20, 10, 30, tzinfo=UTC), calls=3)
    path = f"/admin/v1/usage/events?account={ours.public_id}&limit=2"
    first = await ok(await admin.get(path))
    second = await ok(await admin.get(path, params={"before": first["next"]}))
    seen = [*first["data"], *second["data"]]
    expected = [str(UUID(bytes=request_id(ours.id, number))) for number in (2, 1, 0)]
    assert [one["request_id"] for one in seen] == expected
    assert second["next"] is None
    assert seen[0] == {
        "request_id": expected[0],
        "started_at": "2026-11-20T10:30:00.000Z",
        "account": ours.public_id,
        "key": None,
        "mode": "live",
        "tier": "free",
        "route": "all",
        "upstream": "",
        "method": "GET",
        "outcome": "served",
        "status": 200,
        "ingress_bytes": 0,
        "egress_bytes": 0,
        "ingress_messages": 0,
        "egress_messages": 0,
        "duration_us": 3,
        "first_byte_us": 4,
        "charges": {"api_calls": 1},
        "code": None,
        "refused_by": [],
        "shadows": [],
    }


async def test_the_policies_in_use(admin: Client) -> None:
    document = await ok(await admin.get("/admin/v1/policies"))
    assert document["digest"] == "d" * 64
    assert [tier["name"] for tier in document["tiers"]] == ["free", "team"]
    assert document["tiers"][0]["limits"] == [
        {
            "name": "burst",
            "requests": 60,
            "period_ms": 60000,
            "burst": 20,
            "scope": ["account"],
            "routes": [],
            "text": "60 requests per minute, 20 at once",
            "enforce": 100,
        }
    ]
    assert document["routes"][1]["scopes"] == ["projects:write"]
    assert document["routes"][:1] == [
        {
            "name": "all",
            "path": "/api/**",
            "methods": ["GET"],
            "hosts": [],
            "upstream": "projects",
            "split": [],
            "requires": ["private_projects"],
            "scopes": [],
            "charges": {"api_calls": 1},
            "cost": 1,
            "forward_credentials": False,
        }
    ]


async def test_the_processes(admin: Client, tmp_path: Path, clock: ManualClock) -> None:
    slots = Slots.open(tmp_path / "worker-1.slots")
    slots.set("state", 1)
    slots.set("heartbeat_us", clock.now_us())
    slots.set("policy_generation", 2)
    slots.set("connections", 3)
    Slots.open(tmp_path / "recorder.slots").set("recorder_lag_seconds", 1_500_000)
    target = {
        "upstream": "u",
        "target": "http://u",
        "up": False,
        "failed_calls": True,
        "failed_checks": False,
    }
    figures = {"connections": 2, "in_use": 1}
    report = {"pid": 7, "policies": "d" * 64, "targets": [target | figures]}
    (tmp_path / "worker-1.report").write_text(json.dumps(report))
    told = {"memory_bytes": 0, "switches": 0, "overloaded": False}
    found = (await ok(await admin.get("/admin/v1/upstreams")))["data"]
    assert found == [{"worker": "worker-1", **target, **figures}]
    assert (await ok(await admin.get("/admin/v1/workers")))["data"] == [
        {
            "name": "recorder",
            "state": "starting",
            "heartbeat_at": None,
            "policy_generation": 0,
            "lacks": "is starting",
            "pid": None,
            "policies": None,
            "connections": 0,
            "recorder_lag_s": 1.5,
            **told,
        },
        {
            "name": "worker-1",
            "state": "ready",
            "heartbeat_at": "2026-11-21T12:00:00.000Z",
            "policy_generation": 2,
            "lacks": None,
            "pid": 7,
            "policies": "d" * 64,
            "connections": 3,
            "recorder_lag_s": 0.0,
            **told,
        },
    ]


async def test_metrics_and_health_need_no_token(stranger: Client, tmp_path: Path) -> None:
    Slots.open(tmp_path / "worker-1.slots").add("requests_total", 2, "served")
    response = await stranger.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    text = await response.text()
    assert 'tollway_requests_total{outcome="served",process="worker-1"} 2' in text
    assert 'tollway_build_info{version="1.2.3"} 1' in text
    assert await ok(await stranger.get("/healthz")) == {"status": "alive"}
    assert await ok(await stranger.get("/readyz")) == {"status": "ready", "degraded": []}
    await problem(await stranger.get("/"), 404, "not_found")


async def test_without_a_database_it_says_so(admin: Client, pool: Pool) -> None:
    pool.terminate()
    response = await admin.get("/admin/v1/accounts")
    document = await problem(response, 503, "database_unavailable")
    assert response.headers["Retry-After"]
    assert "pool" not in document["detail"]
    assert (await ok(await admin.get("/readyz")))["degraded"][0]["what"] == "postgres"
    await ok(await admin.get("/admin/v1/policies"))


async def test_an_account_carries_what_its_operator_needs(admin: Client) -> None:
    made = await account(
        admin,
        status="draft",
        billing_anchor="2026-01-31",
        time_zone="Europe/Berlin",
        internal=True,
        metadata={"crm": "7"},
    )
    assert (made["status"], made["billing_anchor"], made["time_zone"]) == (
        "draft",
        "2026-01-31",
        "Europe/Berlin",
    )
    path = f"/admin/v1/accounts/{made['id']}"
    changed = await ok(
        await admin.patch(path, json={"metadata": {"crm": None, "plan": "b"}, "internal": False})
    )
    assert changed == {**made, "metadata": {"plan": "b"}, "internal": False}
    assert (await ok(await admin.patch(path, json={"billing_anchor": None})))["billing_anchor"] is None
    drafts = await ok(await admin.get("/admin/v1/accounts?status=draft"))
    assert [one["id"] for one in drafts["data"]] == [made["id"]]
    assert (await ok(await admin.get("/admin/v1/accounts?status=active&tier=free")))["data"] == []


@pytest.mark.parametrize(
    ("case", "change", "field"),
    [
        ("a status that is none", {"status": "gone"}, "status"),
        ("a day that is none", {"billing_anchor": "2026-02-30"}, "billing_anchor"),
        ("a zone that is none", {"time_zone": "Mars"}, "time_zone"),
        ("a word for yes", {"internal": "yes"}, "internal"),
        ("metadata that is no text", {"metadata": {"n": 1}}, "metadata.n"),
    ],
)
async def test_details_that_can_not_be_used(admin: Client, case: str, change: object, field: str) -> None:
    made = await account(admin)
    response = await admin.patch(f"/admin/v1/accounts/{made['id']}", json=change)
    document = await problem(response, 422, "invalid")
    assert [one["field"] for one in document["errors"]] == [field], case


async def test_a_key_with_restrictions(admin: Client) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}/keys"
    restrictions = {
        "only_routes": ["all"],
        "only_methods": ["GET"],
        "only_networks": ["192.0.2.0/24"],
        "not_networks": ["192.0.2.128/25"],
    }
    created = await ok(await admin.post(path, json={**restrictions, "expires_in_s": 60}), 201)
    assert {name: created[name] for name in restrictions} == restrictions
    assert created["expires_at"] is not None
    assert await ok(await admin.get(f"/admin/v1/keys/{created['id']}")) == {
        name: value for name, value in created.items() if name != "secret"
    }
    document = await problem(await admin.post(path, json={"only_routes": ["none"]}), 422, "invalid")
    assert [one["field"] for one in document["errors"]] == ["only_routes"]


@pytest.mark.parametrize("scopes", [None, [], ["projects:write"]])
async def test_a_key_with_scopes(admin: Client, scopes: list[str] | None) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}/keys"
    created = await ok(await admin.post(path, json={"scopes": scopes}), 201)
    assert created["scopes"] == scopes
    assert (await ok(await admin.get(path)))["data"][0]["scopes"] == scopes
    document = await problem(await admin.post(path, json={"scopes": ["projects:wirte"]}), 422, "invalid")
    assert [one["field"] for one in document["errors"]] == ["scopes"]


async def test_a_key_made_elsewhere(admin: Client) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}/keys/import"
    body = {"sha256": hashlib.sha256(b"legacy").hexdigest(), "name": "old"}
    imported = await ok(await admin.post(path, json=body), 201)
    assert (imported["visible"], imported["last_four"], imported["name"]) == (None, None, "old")
    assert await ok(await admin.post(path, json=body), 201) == imported
    other = await account(admin)
    response = await admin.post(f"/admin/v1/accounts/{other['id']}/keys/import", json=body)
    await problem(response, 409, "conflict")
    await problem(await admin.post(path, json={"sha256": "legacy"}), 422, "invalid")

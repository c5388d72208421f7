"""Customers see the tiers, and with their key their own account and nobody else's."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from aiohttp import web

from gateway.accounts.keys import mint
from gateway.accounts.overrides import Overrides, quota_override
from gateway.accounts.records import AccountDetails, FoundKey, KeyLimits
from gateway.accounts.store import Accounts
from gateway.clock import ManualClock
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool

from .books import book
from .conftest import ADMIN_TOKEN, Client

TODAY = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
YESTERDAY = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
LAST_MONTH = datetime(2026, 10, 31, 23, 0, tzinfo=UTC)


async def ask(portal: Client, secret: str, path: str = "/api/v1/account") -> dict[str, Any]:
    response = await portal.get(path, headers={"Authorization": f"Bearer {secret}"})
    assert response.status == 200, await response.text()
    assert response.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = await response.json()
    return document


async def test_the_front_door_leads_to_the_tiers(portal: Client) -> None:
    response = await portal.get("/", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "/tiers")


async def test_the_page_of_tiers_may_not_run_or_load_anything(portal: Client) -> None:
    response = await portal.get("/tiers?upgrade=team")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "Server" not in response.headers
    assert "Suggested for you" in await response.text()


async def test_the_page_of_tiers_survives_nonsense(portal: Client) -> None:
    for query in ("upgrade=%00%ff", "upgrade=" + "x" * 4000, "upgrade=a&upgrade=b", "other=1"):
        response = await portal.get(f"/tiers?{query}")
        assert response.status == 200
        assert "Suggested" not in await response.text()


async def test_a_customer_sees_the_account_and_what_is_left(
    portal: Client, accounts: Accounts, pool: Pool
) -> None:
    ours = await accounts.create_account("Ours", "free")
    key, secret = await accounts.create_key(ours.public_id)
    await book(pool, ours.id, TODAY, calls=2)
    await book(pool, ours.id, YESTERDAY, calls=4)
    await book(pool, ours.id, LAST_MONTH, calls=6)
    document = await ask(portal, secret)
    assert document["account"] == {"id": ours.public_id, "name": "Ours", "status": "active"}
    assert document["key"] == {"id": key.public_id, "mode": "live"}
    assert document["tier"]["title"] == "Free"
    assert [
        (one["name"], one["used"], one["remaining"], one["period_start"], one["resets_at"])
        for one in document["quotas"]
    ] == [
        ("monthly", 6, 994, "2026-11-01T00:00:00.000Z", "2026-12-01T00:00:00.000Z"),
        ("daily", 2, 3, "2026-11-21T00:00:00.000Z", "2026-11-22T00:00:00.000Z"),
    ]


async def test_periods_are_those_of_the_account_and_amounts_those_of_its_deals(
    portal: Client, accounts: Accounts, pool: Pool
) -> None:
    anchored = AccountDetails(billing_anchor=date(2026, 1, 21), time_zone="America/New_York")
    ours = await accounts.create_account("Ours", "free", details=anchored)
    _, secret = await accounts.create_key(ours.public_id)
    await Overrides(pool, accounts).set(ours.public_id, quota_override("monthly", 5000))
    await book(pool, ours.id, TODAY, calls=2)
    await book(pool, ours.id, YESTERDAY, calls=4)
    monthly, daily = (await ask(portal, secret))["quotas"]
    assert (monthly["used"], monthly["remaining"]) == (2, 4998)
    assert (monthly["period_start"], monthly["resets_at"]) == (
        "2026-11-21T05:00:00.000Z",
        "2026-12-21T05:00:00.000Z",
    )
    assert (daily["used"], daily["period_start"]) == (2, "2026-11-21T05:00:00.000Z")


async def test_nothing_remains_of_a_quota_that_is_overdrawn(
    portal: Client, accounts: Accounts, pool: Pool
) -> None:
    ours = await accounts.create_account("Ours", "free")
    _, secret = await accounts.create_key(ours.public_id)
    await book(pool, ours.id, TODAY, calls=7)
    daily = (await ask(portal, secret))["quotas"][1]
    assert (daily["used"], daily["remaining"]) == (7, 0)


async def test_live_and_test_keys_have_books_of_their_own(
    portal: Client, accounts: Accounts, pool: Pool
) -> None:
    ours, theirs = (
        await accounts.create_account("Ours", "free"),
        await accounts.create_account("Theirs", "free"),
    )
    _, live = await accounts.create_key(ours.public_id)
    _, test = await accounts.create_key(ours.public_id, mode=Mode.TEST)
    await book(pool, ours.id, TODAY, calls=1)
    await book(pool, ours.id, TODAY, calls=2, mode=Mode.TEST)
    await book(pool, theirs.id, TODAY, calls=4)
    for secret, calls in ((live, 1), (test, 2)):
        document = await ask(portal, secret, "/api/v1/usage?bucket=day")
        assert [(row["account"], row["quantity"]) for row in document["data"]] == [(ours.public_id, calls)]
        assert (await ask(portal, secret))["quotas"][0]["used"] == calls


async def test_nobody_asks_about_others(portal: Client, accounts: Accounts) -> None:
    ours, theirs = (
        await accounts.create_account("Ours", "free"),
        await accounts.create_account("Theirs", "free"),
    )
    _, secret = await accounts.create_key(ours.public_id)
    response = await portal.get(
        f"/api/v1/usage?account={theirs.public_id}", headers={"Authorization": f"Bearer {secret}"}
    )
    assert response.status == 422


async def test_a_suspended_account_may_look_at_itself(portal: Client, accounts: Accounts) -> None:
    ours = await accounts.create_account("Ours", "free")
    _, secret = await accounts.create_key(ours.public_id)
    await accounts.set_status(ours.public_id, "suspended")
    assert (await ask(portal, secret))["account"]["status"] == "suspended"


async def test_a_tier_that_left_the_policies_is_named_without_details(
    portal: Client, accounts: Accounts
) -> None:
    ours = await accounts.create_account("Ours", "retired")
    _, secret = await accounts.create_key(ours.public_id)
    document = await ask(portal, secret)
    assert document["tier"] == {"name": "retired"}
    assert document["quotas"] == []


async def test_x_api_key_does_as_well(portal: Client, accounts: Accounts) -> None:
    ours = await accounts.create_account("Ours", "free")
    _, secret = await accounts.create_key(ours.public_id)
    assert (await portal.get("/api/v1/account", headers={"X-API-Key": secret})).status == 200
    both = {"X-API-Key": secret, "Authorization": f"Bearer {secret}"}
    assert (await portal.get("/api/v1/account", headers=both)).status == 200


async def test_without_a_key_that_works_all_answers_are_alike(portal: Client, accounts: Accounts) -> None:
    ours = await accounts.create_account("Ours", "free")
    key, revoked = await accounts.create_key(ours.public_id)
    _, good = await accounts.create_key(ours.public_id)
    await accounts.revoke_key(key.public_id)
    attempts: list[list[tuple[str, str]]] = [
        [],
        [("Authorization", "Bearer garbage")],
        [("Authorization", f"Bearer {mint('tw', Mode.LIVE).secret}")],
        [("Authorization", f"Bearer {revoked}")],
        [("Authorization", f"Bearer {ADMIN_TOKEN}")],
        [("Authorization", f"Bearer {good}"), ("X-API-Key", revoked)],
        [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")],
        [("X-API-Key", "\xff\xfe")],
    ]
    answers = set()
    for headers in attempts:
        for path in ("/api/v1/account", "/api/v1/usage", "/api/v1/nothing"):
            response = await portal.get(path, headers=headers)
            document = json.loads(await response.read())
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="tollway"'
            del document["request_id"]
            answers.add(json.dumps(document))
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/admin/v1/accounts", 404, "not_found"),
        ("/metrics", 404, "not_found"),
        ("/tiers/x", 404, "not_found"),
    ],
)
async def test_operators_addresses_are_not_here(portal: Client, path: str, status: int, code: str) -> None:
    response = await portal.get(path, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert (response.status, json.loads(await response.read())["code"]) == (status, code)


async def test_without_a_database_nobody_is_told_that_the_key_is_wrong(
    portal: Client, pool: Pool, clock: ManualClock
) -> None:
    pool.terminate()
    headers = {"Authorization": f"Bearer {mint('tw', Mode.LIVE).secret}"}
    assert (await portal.get("/api/v1/account", headers=headers)).status == 503
    assert (await portal.get("/tiers")).status == 200
    assert clock.now_us() > 0


async def test_guessing_keys_asks_the_database_no_more_after_a_while(
    portal_app: web.Application, portal: Client, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = await accounts.create_account("Ours", "free")
    _, good = await accounts.create_key(ours.public_id)
    _, unseen = await accounts.create_key(ours.public_id)
    asked, find_key = 0, Accounts.find_key

    async def count(self: Accounts, digest: bytes) -> FoundKey | None:
        nonlocal asked
        asked += 1
        return await find_key(self, digest)

    monkeypatch.setattr(Accounts, "find_key", count)
    assert (await portal.get("/api/v1/account", headers={"X-API-Key": good})).status == 200
    asked = 0
    statuses = []
    for _ in range(80):
        headers = {"X-API-Key": mint("tw", Mode.LIVE).secret}
        statuses.append((await portal.get("/api/v1/account", headers=headers)).status)
    assert (statuses, asked) == ([401] * 60 + [429] * 20, 60)
    refused = [
        await portal.get("/api/v1/account", headers={"X-API-Key": key})
        for key in (unseen, unseen[:-1], "garbage", mint("tw", Mode.LIVE).secret)
    ]
    documents = {
        json.dumps({**json.loads(await one.read()), "request_id": ""} | {"after": one.headers["Retry-After"]})
        for one in refused
    }
    assert len(documents) == 1, "what is not known is answered alike"
    assert (await portal.get("/api/v1/account", headers={"X-API-Key": good})).status == 200


async def test_a_key_that_is_kept_to_a_network_is_none_from_elsewhere(
    portal: Client, accounts: Accounts
) -> None:
    ours = await accounts.create_account("Ours", "free")
    _, inside = await accounts.create_key(ours.public_id, limits=KeyLimits(only_networks=("10.0.0.0/8",)))
    _, outside = await accounts.create_key(ours.public_id, limits=KeyLimits(not_networks=("10.0.0.0/8",)))
    for key, address, status in (
        (inside, "10.1.2.3", 200),
        (inside, "192.0.2.1", 401),
        (outside, "10.1.2.3", 401),
        (outside, "192.0.2.1", 200),
    ):
        headers = {"X-API-Key": key, "X-Forwarded-For": address}
        assert (await portal.get("/api/v1/account", headers=headers)).status == status

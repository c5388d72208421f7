"""Usage in time zones, by what one asks, as CSV, and the periods that a billing page shows."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from yarl import URL

from gateway.accounts.overrides import Overrides, quota_override
from gateway.accounts.records import Account, AccountDetails
from gateway.accounts.store import Accounts
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool
from tests.integration.controlplane.books import book
from tests.integration.controlplane.conftest import Client

USAGE = "/admin/v1/usage"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def ok(client: Client, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.json()


@pytest.fixture
async def berlin(accounts: Accounts) -> Account:
    return await accounts.create_account("Ada", "free", details=AccountDetails(time_zone="Europe/Berlin"))


def calls(document: Any) -> list[tuple[str, int]]:
    return [(row["bucket_start"], row["events"]) for row in document["data"] if row["meter"] == "api_calls"]


async def test_days_are_those_of_the_accounts_zone(admin: Client, berlin: Account, pool: Pool) -> None:
    """Clocks were put back on the 25th of October: that day had 25 hours."""
    start = datetime(2026, 10, 24, 22, tzinfo=UTC)
    for number, hours in enumerate((-1, 0, 24, 25)):
        await book(pool, berlin.id, start + timedelta(hours=hours), calls=number + 1)
    path = f"{USAGE}?account={berlin.public_id}&bucket=day&from=2026-10-24&to=2026-10-27"
    told = await ok(admin, path)
    assert (told["time_zone"], told["from"]) == ("Europe/Berlin", "2026-10-23T22:00:00.000Z")
    assert calls(told) == [
        ("2026-10-23T22:00:00.000Z", 1),
        ("2026-10-24T22:00:00.000Z", 2 + 3),
        ("2026-10-25T23:00:00.000Z", 4),
    ]
    utc = await ok(admin, path + "&time_zone=UTC")
    assert calls(utc) == [("2026-10-24T00:00:00.000Z", 1 + 2), ("2026-10-25T00:00:00.000Z", 3 + 4)]


async def test_months_of_a_zone_are_those_of_its_calendar(admin: Client, berlin: Account, pool: Pool) -> None:
    await book(pool, berlin.id, datetime(2026, 10, 31, 23, 30, tzinfo=UTC), calls=2)
    path = f"{USAGE}?account={berlin.public_id}&bucket=month&from=2026-10-01&to=2026-12-01"
    assert calls(await ok(admin, path)) == [("2026-10-31T23:00:00.000Z", 2)]
    assert calls(await ok(admin, path + "&time_zone=UTC")) == [("2026-10-01T00:00:00.000Z", 2)]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "Mars/Olympus", "../etc/passwd", ""])
async def test_zones_that_can_not_be_told_are_refused(admin: Client, zone: str) -> None:
    answer = await admin.get(f"{USAGE}?bucket=day&time_zone={zone}")
    assert answer.status == 422
    assert [one["field"] for one in (await answer.json())["errors"]] == ["time_zone"]


async def test_hours_are_told_in_any_zone(admin: Client, berlin: Account, pool: Pool) -> None:
    await book(pool, berlin.id, NOW - timedelta(hours=2), calls=1)
    told = await ok(admin, f"{USAGE}?bucket=hour&time_zone=Asia/Kolkata&from=2026-11-21&to=2026-11-22")
    assert (told["from"], calls(told)) == ("2026-11-20T18:30:00.000Z", [("2026-11-21T10:00:00.000Z", 1)])


async def test_an_accounts_own_zone_gives_way_to_utc_where_days_can_not_be_told(
    admin: Client, accounts: Accounts
) -> None:
    details = AccountDetails(time_zone="Asia/Kolkata")
    account = (await accounts.create_account("Ada", "free", details=details)).public_id
    assert (await ok(admin, f"{USAGE}?account={account}&bucket=day"))["time_zone"] == "UTC"


async def test_rows_are_told_apart_by_what_is_asked(admin: Client, accounts: Accounts, pool: Pool) -> None:
    one, other = [await accounts.create_account(name, "free") for name in ("Ada", "Bob")]
    await book(pool, one.id, NOW - timedelta(hours=2), calls=3)
    await book(pool, one.id, NOW - timedelta(hours=2), calls=4, mode=Mode.TEST)
    await book(pool, other.id, NOW - timedelta(hours=1), calls=5)
    by_account = await ok(admin, f"{USAGE}?group_by=account&meter=api_calls")
    assert [(row["account"], row["mode"], row["route"], row["quantity"]) for row in by_account["data"]] == [
        (one.public_id, None, None, 7),
        (other.public_id, None, None, 5),
    ]
    by_meter = await ok(admin, f"{USAGE}?group_by=meter&mode=live&meter=api_calls")
    assert [row["quantity"] for row in by_meter["data"]] == [8]
    assert (await ok(admin, f"{USAGE}?route=none"))["data"] == []
    assert (await ok(admin, f"{USAGE}?outcome=timeout"))["data"] == []
    assert (await admin.get(f"{USAGE}?group_by=account,weather")).status == 422
    page = await ok(admin, f"{USAGE}?group_by=account&meter=api_calls&limit=1")
    rest = await ok(admin, f"{USAGE}?group_by=account&meter=api_calls&limit=1&after={page['next']}")
    assert page["data"] + rest["data"] == by_account["data"]


async def test_with_corrections_and_without(admin: Client, berlin: Account, pool: Pool) -> None:
    await book(pool, berlin.id, NOW - timedelta(hours=2), calls=5)
    taken = {"id": "c", "account": berlin.public_id, "meter": "api_calls", "quantity": -2, "reason": "x"}
    await admin.post(f"{USAGE}/corrections", json=taken | {"at": "2026-11-21T10:30:00Z"})
    path = f"{USAGE}?account={berlin.public_id}&meter=api_calls&group_by=mode"
    assert [row["quantity"] for row in (await ok(admin, path))["data"]] == [3]
    assert [row["quantity"] for row in (await ok(admin, path + "&corrections=exclude"))["data"]] == [5]


async def test_usage_as_csv(admin: Client, berlin: Account, pool: Pool) -> None:
    await book(pool, berlin.id, NOW - timedelta(hours=2), calls=2)
    path = f"{USAGE}?account={berlin.public_id}&meter=api_calls&bucket=day"
    answer = await admin.get(path, headers={"Accept": "text/csv"})
    assert answer.content_type == "text/csv"
    (row,) = csv.DictReader((await answer.text()).splitlines())
    assert (row["bucket_start"], row["account"], row["quantity"]) == (
        "2026-11-20T23:00:00.000Z",
        berlin.public_id,
        "2",
    )
    assert (await (await admin.get(path + "&format=csv")).text()) == await answer.text()
    assert (await admin.get(path + "&format=json", headers={"Accept": "text/csv"})).content_type.endswith(
        "json"
    )


async def test_pages_of_csv_are_linked(admin: Client, berlin: Account, pool: Pool) -> None:
    await book(pool, berlin.id, NOW - timedelta(hours=2), calls=3)
    answer = await admin.get(f"{USAGE}/events?format=csv&limit=2")
    assert len((await answer.text()).splitlines()) == 1 + 2
    following = answer.links["next"]["url"]
    last = await admin.get(URL(following).relative())
    assert len((await last.text()).splitlines()) == 1 + 1
    assert not last.links


async def test_calls_of_a_span_a_route_and_an_outcome(admin: Client, berlin: Account, pool: Pool) -> None:
    for hour in (1, 2, 3):
        await book(pool, berlin.id, NOW - timedelta(hours=hour), calls=1)
    path = f"{USAGE}/events?account={berlin.public_id}&from=2026-11-21T10:00:00Z&to=2026-11-21T11:00:00Z"
    (row,) = (await ok(admin, path))["data"]
    assert row["started_at"] == "2026-11-21T10:00:00.000Z"
    assert len((await ok(admin, f"{USAGE}/events?route=all&outcome=served"))["data"]) == 3
    assert (await ok(admin, f"{USAGE}/events?outcome=timeout"))["data"] == []


async def test_the_period_with_its_quotas_and_history(admin: Client, accounts: Accounts, pool: Pool) -> None:
    account = await accounts.create_account("Ada", "free")
    await Overrides(pool, accounts).set(account.public_id, quota_override("daily", 8), None)
    await book(pool, account.id, NOW - timedelta(hours=2), calls=6)
    await book(pool, account.id, NOW - timedelta(days=40), calls=3)
    taken = {"id": "c", "account": account.public_id, "meter": "api_calls", "quantity": -2, "reason": "x"}
    await admin.post(f"{USAGE}/corrections", json=taken)
    told = await ok(admin, f"/admin/v1/accounts/{account.public_id}/period?history=2")
    daily = next(one for one in told["quotas"] if one["name"] == "daily")
    assert {name: daily[name] for name in ("amount", "used", "remaining", "beyond", "percent_used")} == {
        "amount": 8,
        "used": 4,
        "remaining": 4,
        "beyond": 0,
        "percent_used": 50.0,
    }
    assert (daily["period_start"], daily["resets_at"], daily["projected"]) == (
        "2026-11-21T00:00:00.000Z",
        "2026-11-22T00:00:00.000Z",
        8,
    )
    assert told["current"] == {
        "start": "2026-11-01T00:00:00.000Z",
        "end": "2026-12-01T00:00:00.000Z",
        "calls": 6,
        "meters": [{"meter": "api_calls", "quantity": 4, "posted": 0, "corrections": -2}],
    }
    assert [(one["start"][:7], one["calls"]) for one in told["history"]] == [("2026-10", 3), ("2026-09", 0)]


async def test_customers_see_their_own_period(portal: Client, accounts: Accounts, pool: Pool) -> None:
    account = await accounts.create_account("Ada", "free")
    _, secret = await accounts.create_key(account.public_id)
    await book(pool, account.id, NOW - timedelta(hours=2), calls=6)
    headers = {"Authorization": f"Bearer {secret}"}
    told = await (await portal.get("/api/v1/period", headers=headers)).json()
    assert (told["account"], told["current"]["calls"], len(told["history"])) == (account.public_id, 6, 12)
    daily = next(one for one in told["quotas"] if one["name"] == "daily")
    assert (daily["used"], daily["beyond"], daily["percent_used"]) == (6, 1, 120.0)
    assert (await portal.get("/api/v1/period?mode=test", headers=headers)).status == 422
    assert (await portal.get("/api/v1/period")).status == 401

"""An account that gets other periods or another tier finds in its counters what it has used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio

from gateway.accounts.records import Account, AccountDetails
from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaCounters, QuotaPeriod
from gateway.admission.period import period_at
from gateway.admission.trust import MARK
from gateway.clock import ManualClock
from gateway.controlplane.collaborators import Collaborators
from gateway.model.periods import Calendar, Period, calendar
from gateway.model.policies import Quota
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool
from tests.integration.controlplane.books import book
from tests.integration.controlplane.conftest import POLICIES, Client

WEEKLY = Quota("weekly", "api_calls", 100, Period.WEEK)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.set(MARK, "whatever it is called")
    yield client
    await client.aclose()


@pytest.fixture
def collaborators(collaborators: Collaborators, store: redis.asyncio.Redis) -> Collaborators:
    tiers = {**POLICIES.tiers, "team": replace(POLICIES.tiers["team"], quotas=(WEEKLY,))}
    policies = replace(POLICIES, tiers=tiers)
    return replace(collaborators, counters=QuotaCounters(store), policies=lambda: policies)


@pytest.fixture
async def now(store: redis.asyncio.Redis, clock: ManualClock) -> datetime:
    """Quotas go by Redis's clock."""
    now_us = await QuotaCounters(store).now_us()
    clock.advance(now_us / 1e6 - clock.now_us() / 1e6)
    return datetime.fromtimestamp(now_us // 1_000_000, UTC)


@pytest.fixture
async def account(accounts: Accounts) -> Account:
    return await accounts.create_account("Ada", "free")


class Counts:
    """Counters of an account."""

    def __init__(self, store: redis.asyncio.Redis, account: Account, now: datetime) -> None:
        self.counters, self._account = QuotaCounters(store), account
        self._now_us = round(now.timestamp() * 1_000_000)

    def period(self, per: Period, by: Calendar, mode: Mode = Mode.LIVE) -> QuotaPeriod:
        return QuotaPeriod(self._account.id, mode, "api_calls", per, period_at(per, self._now_us, by))

    async def of(self, per: Period, by: Calendar, mode: Mode = Mode.LIVE) -> int | None:
        period = self.period(per, by, mode)
        return (await self.counters.counted([period])).get(period)

    async def charge(self, per: Period, units: int) -> None:
        await self.counters.set_right(self.period(per, calendar(None, "UTC")), units, lower_from=None)


@pytest.fixture
def counts(store: redis.asyncio.Redis, account: Account, now: datetime) -> Counts:
    return Counts(store, account, now)


async def change(admin: Client, account: Account, **changes: object) -> None:
    answer = await admin.patch(f"/admin/v1/accounts/{account.public_id}", json=changes)
    assert answer.status == 200, await answer.text()


async def test_a_new_anchor_does_not_give_what_was_used_again(
    admin: Client, account: Account, pool: Pool, now: datetime, counts: Counts
) -> None:
    """Six calls were made; the month of the new anchor began three days ago, and five of them are in it."""
    await book(pool, account.id, now - timedelta(days=4), calls=1)
    await book(pool, account.id, now, calls=5)
    await book(pool, account.id, now, calls=2, mode=Mode.TEST)
    anchor = (now - timedelta(days=3)).date()
    await change(admin, account, billing_anchor=anchor.isoformat())
    by = calendar(anchor, "UTC")
    assert await counts.of(Period.MONTH, by) == 5
    assert await counts.of(Period.MONTH, by, Mode.TEST) == 2


async def test_another_time_zone(
    admin: Client, account: Account, pool: Pool, now: datetime, counts: Counts
) -> None:
    """Also one whose days begin within an hour."""
    await book(pool, account.id, now, calls=5)
    for zone in ("Pacific/Auckland", "Asia/Kolkata"):
        await change(admin, account, time_zone=zone)
        assert await counts.of(Period.MONTH, calendar(None, zone)) == 5, zone


async def test_calls_that_are_charged_and_not_booked_yet_are_in_it(
    admin: Client, account: Account, pool: Pool, now: datetime, counts: Counts
) -> None:
    await book(pool, account.id, now, calls=5)
    await counts.charge(Period.MONTH, 8)
    anchor = (now - timedelta(days=3)).date()
    await change(admin, account, billing_anchor=anchor.isoformat())
    assert await counts.of(Period.MONTH, calendar(anchor, "UTC")) == 5 + 3


async def test_another_tier_with_other_quotas(
    admin: Client, account: Account, pool: Pool, now: datetime, counts: Counts
) -> None:
    await book(pool, account.id, now, calls=4)
    in_utc = calendar(None, "UTC")
    await change(admin, account, tier="team")
    assert await counts.of(Period.WEEK, in_utc) == 4
    await change(admin, account, tier="free")
    assert await counts.of(Period.MONTH, in_utc) == 4
    await change(admin, account, tier="team")
    assert await counts.of(Period.WEEK, in_utc) == 4, "and back: nothing is counted twice"


async def test_counters_are_not_touched_by_other_changes(
    admin: Client, account: Account, pool: Pool, now: datetime, counts: Counts
) -> None:
    await book(pool, account.id, now, calls=4)
    await change(admin, account, name="Bob", time_zone="UTC")
    assert await counts.of(Period.MONTH, calendar(None, "UTC")) is None


async def test_a_change_that_is_refused_leaves_the_account_and_harmless_counters(
    admin: Client, account: Account, counts: Counts
) -> None:
    path = f"/admin/v1/accounts/{account.public_id}"
    answer = await admin.patch(path, json={"time_zone": "Pacific/Auckland", "name": ""})
    assert answer.status == 422
    assert (await (await admin.get(path)).json())["time_zone"] == "UTC"
    assert await counts.of(Period.MONTH, calendar(None, "Pacific/Auckland")) is None


class TestWithoutRedis:
    """The account changes all the same."""

    @pytest.fixture
    def collaborators(self, collaborators: Collaborators) -> Collaborators:
        nowhere = redis.asyncio.Redis.from_url("redis://127.0.0.1:1")
        return replace(collaborators, counters=QuotaCounters(nowhere))

    async def test_reconciliation_catches_up(
        self, admin: Client, accounts: Accounts, caplog: pytest.LogCaptureFixture
    ) -> None:
        details = AccountDetails(time_zone="Europe/Berlin")
        account = await accounts.create_account("Ada", "free", details=details)
        await change(admin, account, time_zone="UTC")
        assert (await accounts.get_account(account.public_id)).time_zone == "UTC"
        assert "empty until the next reconciliation" in caplog.text

"""Operators, and what they connect, see which quotas were reached."""

from __future__ import annotations

from gateway.accounts.store import Accounts
from gateway.ledger.quota_events import NewQuotaEvent, QuotaEvents
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool

from .conftest import NOW_US, Client
from .test_admin import ok

PATH = "/admin/v1/quota-events"


def reached(account: int, threshold: int, mode: Mode = Mode.LIVE) -> NewQuotaEvent:
    start_s = NOW_US // 1_000_000 - 43_200
    return NewQuotaEvent(
        at_ms=NOW_US // 1000,
        account_id=account,
        mode=mode,
        quota="daily",
        meter="api_calls",
        per="day",
        start_s=start_s,
        end_s=start_s + 86_400,
        amount=10,
        used=threshold // 10,
        threshold=threshold,
    )


async def test_events_come_in_pages_newest_first(admin: Client, accounts: Accounts, pool: Pool) -> None:
    ours = await accounts.create_account("Ours", "free")
    events = QuotaEvents(pool)
    await events.book([reached(ours.id, 80), reached(ours.id, 100), reached(10**12, 80)])
    first = await ok(await admin.get(f"{PATH}?account={ours.public_id}&limit=1"))
    assert first["data"] == [
        {
            "id": first["next"],
            "at": "2026-11-21T12:00:00.000Z",
            "account": ours.public_id,
            "mode": "live",
            "quota": "daily",
            "meter": "api_calls",
            "per": "day",
            "period_start": "2026-11-21T00:00:00.000Z",
            "period_end": "2026-11-22T00:00:00.000Z",
            "amount": 10,
            "used": 10,
            "threshold": 100,
        }
    ]
    rest = await ok(await admin.get(f"{PATH}?account={ours.public_id}&before={first['next']}"))
    assert [one["threshold"] for one in rest["data"]] == [80]
    assert rest["next"] is None
    assert len((await ok(await admin.get(PATH)))["data"]) == 3


async def test_events_of_a_mode(admin: Client, pool: Pool) -> None:
    await QuotaEvents(pool).book([reached(1, 80), reached(1, 80, Mode.TEST)])
    found = await ok(await admin.get(f"{PATH}?mode=test"))
    assert [one["mode"] for one in found["data"]] == ["test"]


async def test_questions_that_make_no_sense_are_refused(admin: Client) -> None:
    for query, status in (("before=0", 422), ("mode=both", 422), ("account=acct_0000000000000000", 404)):
        assert (await admin.get(f"{PATH}?{query}")).status == status, query

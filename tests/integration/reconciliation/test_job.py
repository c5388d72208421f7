"""The job: one control process at a time compares and repairs, and says what it found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import StoreUnavailable
from gateway.reconciliation.job import LOCK, reconcile_forever
from gateway.reconciliation.reconciler import Finding, Reconciler
from gateway.reconciliation.standing import Standing
from gateway.storage.postgres import Pool, connect_pool
from gateway.telemetry.slots import Slots
from tests.integration.reconciliation.periods import PERIOD


class Scripted(Reconciler):
    """Finds what it is told to, in turn, and for ever the last."""

    def __init__(self, *script: list[Finding] | Exception) -> None:
        self.script = list(script)
        self.looks = 0
        self.looked = asyncio.Condition()

    async def look(self, *, repair: bool) -> list[Finding]:
        assert repair
        step = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        async with self.looked:
            self.looked.notify_all()
        if isinstance(step, Exception):
            raise step
        return step

    async def until(self, looks: int) -> None:
        async with self.looked:
            await self.looked.wait_for(lambda: self.looks >= looks)


def finding(counted: int, booked: int, standing: Standing) -> Finding:
    repaired = standing is not Standing.UNDER_WAY
    return Finding(PERIOD, "acct_acme", counted, booked, standing, repaired)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await connect_pool(database_url)
    yield made
    await made.close()


async def test_findings_are_counted(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    found = [
        finding(0, 5, Standing.BEHIND),
        finding(9, 5, Standing.AHEAD),
        finding(7, 5, Standing.UNDER_WAY),
    ]
    reconciler, slots = Scripted(found, []), Slots.in_memory()
    job = asyncio.ensure_future(reconcile_forever(reconciler, pool, slots, 0.001))
    await reconciler.until(3)
    job.cancel()
    assert slots.get("quota_repairs_total", "behind") == slots.get("quota_repairs_total", "ahead") == 1
    assert slots.get("quota_drift_units", "under_way") == 0, "as of the last look"
    assert [record.message for record in caplog.records] == [
        "quota counters were behind the ledger and were set right",
        "quota counters were ahead of the ledger and were set right",
    ]


async def test_an_outage_is_told_once_and_survived(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    reconciler, slots = Scripted(StoreUnavailable("gone"), StoreUnavailable("gone"), []), Slots.in_memory()
    job = asyncio.ensure_future(reconcile_forever(reconciler, pool, slots, 0.001))
    await reconciler.until(4)
    job.cancel()
    assert slots.get("reconcile_errors_total") == 2
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR"]


async def test_one_at_a_time(pool: Pool) -> None:
    reconciler = Scripted([])
    async with pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK)
        job = asyncio.ensure_future(reconcile_forever(reconciler, pool, Slots.in_memory(), 0.001))
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%'"
        while await other.fetchval(asked + " AND pid <> pg_backend_pid()") == 0:
            await asyncio.sleep(0)
        assert reconciler.looks == 0
        await other.execute("SELECT pg_advisory_unlock($1)", LOCK)
    await reconciler.until(1)
    job.cancel()

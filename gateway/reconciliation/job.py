"""The job that keeps counters right: in one control process at a time, every few minutes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import asyncpg

from gateway.errors import StoreUnavailable
from gateway.ledger.errors import LedgerUnavailable
from gateway.reconciliation.reconciler import Finding, Reconciler
from gateway.reconciliation.standing import Standing
from gateway.storage.postgres import LOST, Pool
from gateway.telemetry.slots import Slots

LOCK = 0x746F_6C6C_7761_7902
"""Advisory lock of whoever compares."""

LOOK_WITHIN_S = 120.0
_FAILURES: tuple[type[Exception], ...] = (StoreUnavailable, LedgerUnavailable, asyncpg.PostgresError, *LOST)

log = logging.getLogger("tollway.reconciliation")


async def reconcile_forever(reconciler: Reconciler, pool: Pool, slots: Slots, interval_s: float) -> None:
    """Compare and repair every `interval_s`. What can not be reached is tried again at the next turn."""
    failing = False
    while True:
        await asyncio.sleep(interval_s)
        try:
            findings = await _in_turn(reconciler, pool)
        except _FAILURES as error:
            slots.add("reconcile_errors_total")
            if not failing:
                failing = True
                log.error("quotas can not be compared with the ledger", extra={"error": str(error)})  # noqa: TRY400  says it all
        else:
            if failing:
                failing = False
                log.info("quotas are compared with the ledger again")
            if findings is not None:
                _tell(findings, slots)


async def _in_turn(reconciler: Reconciler, pool: Pool) -> list[Finding] | None:
    """None while another control process is at it."""
    async with pool.acquire(timeout=5) as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            return None
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                return await reconciler.look(repair=True)
        finally:
            await connection.fetchval("SELECT pg_advisory_unlock($1)", LOCK)


def _tell(findings: list[Finding], slots: Slots) -> None:
    units: Counter[Standing] = Counter()
    repaired: Counter[Standing] = Counter()
    for one in findings:
        units[one.standing] += abs(one.counted - one.booked)
        repaired[one.standing] += one.repaired
    for stands in Standing:
        slots.set("quota_drift_units", units[stands], stands.value)
    for stands in (Standing.BEHIND, Standing.AHEAD):
        slots.add("quota_repairs_total", repaired[stands], stands.value)
        if repaired[stands]:
            log.warning(
                "quota counters were %s the ledger and were set right",
                "behind" if stands is Standing.BEHIND else "ahead of",
                extra={"count": repaired[stands]},
            )

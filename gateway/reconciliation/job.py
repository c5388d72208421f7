"""The job that keeps counters right: in one control process at a time, every few minutes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from gateway.errors import StoreUnavailable
from gateway.ledger.errors import LedgerUnavailable
from gateway.reconciliation.rebuild import Interrupted, Rebuilder
from gateway.reconciliation.reconciler import Finding, Reconciler
from gateway.reconciliation.standing import Standing
from gateway.storage.postgres import LOST, Pool
from gateway.telemetry.slots import Slots

LOCK = 0x746F_6C6C_7761_7902
"""Advisory lock of whoever compares."""

LOOK_WITHIN_S = 120.0
REBUILD_LOOK_S = (0.2, 0.4)
"""Between two looks whether counters have to be rebuilt, at random."""
RETRY_S = 1.0
CATCH_UP_AFTER_S = (2.0, 12.0)
"""After a rebuild, what passed without being charged meanwhile is booked and added."""
_FAILURES: tuple[type[Exception], ...] = (
    StoreUnavailable,
    LedgerUnavailable,
    Interrupted,
    asyncpg.PostgresError,
    *LOST,
)

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


async def rebuild_forever(rebuilder: Rebuilder, pool: Pool, slots: Slots) -> None:
    """Rebuild all counters whenever nobody vouches for those of this Redis; one control process does.

    Where a restart of Redis goes unnoticed, what the ledger has is added at the start in any case.
    """
    failing = False
    now_s = asyncio.get_running_loop().time
    at_once = (0.0, *CATCH_UP_AFTER_S) if rebuilder.misses_restarts else ()
    catch_ups = deque(now_s() + delay_s for delay_s in at_once)
    while True:
        await asyncio.sleep(random.uniform(*REBUILD_LOOK_S))  # noqa: S311 - spreads load, hides nothing
        try:
            is_due = await rebuilder.is_due()
        except StoreUnavailable:
            continue  # Redis is gone, as workers tell
        try:
            if is_due:
                await _rebuild_in_turn(rebuilder, pool, slots)
                catch_ups = deque(now_s() + delay_s for delay_s in CATCH_UP_AFTER_S)
            elif catch_ups and now_s() >= catch_ups[0]:
                async with _turn(pool) as is_mine:
                    if is_mine:
                        catch_ups.popleft()
                        await rebuilder.catch_up()
        except _FAILURES as error:
            slots.add("reconcile_errors_total")
            if not failing:
                failing = True
                log.error("quota counters can not be rebuilt yet", extra={"error": str(error)})  # noqa: TRY400  says it all
            await asyncio.sleep(RETRY_S)
        else:
            failing = False


async def _rebuild_in_turn(rebuilder: Rebuilder, pool: Pool, slots: Slots) -> None:
    """Nothing while another control process is at it."""
    async with _turn(pool) as is_mine:
        if not is_mine or not await rebuilder.is_due():
            return
        began_s = asyncio.get_running_loop().time()
        done = await rebuilder.rebuild()
    slots.add("quota_rebuilds_total")
    log.warning(
        "quota counters were rebuilt from the ledger in %.1f s, since Redis may have lost some",
        asyncio.get_running_loop().time() - began_s,
        extra={"count": done.counters},
    )
    if done.unheard:
        log.warning(
            "journals were not heard of in time: what they have not booked is missing in quota counters "
            "until the next comparison",
            extra={"count": len(done.unheard), "journal": min(done.unheard)},
        )


async def _in_turn(reconciler: Reconciler, pool: Pool) -> list[Finding] | None:
    """None while another control process is at it."""
    async with _turn(pool) as is_mine:
        if not is_mine:
            return None
        async with asyncio.timeout(LOOK_WITHIN_S):
            return await reconciler.look(repair=True)


@asynccontextmanager
async def _turn(pool: Pool) -> AsyncIterator[bool]:
    """Whether it is ours: one at a time compares or rebuilds."""
    async with pool.acquire(timeout=5) as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            yield False
            return
        try:
            yield True
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

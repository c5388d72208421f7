"""Raw rows by month: partitions are made ahead, and dropped when they are old. Sums and cursors stay.

A hypertable makes its chunks by itself; of it only old ones are dropped.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import asyncpg

from gateway.ledger.aggregates import month_of
from gateway.ledger.layout import Layout, layout_of
from gateway.ledger.timescale import schema_of
from gateway.storage.postgres import LOST, Connection, Pool
from gateway.storage.queries import load_queries

LOCK = 0x746F_6C6C_7761_7903
"""Advisory lock of whoever looks after partitions or chunks."""

EVERY_S = 3600.0
MONTHS_AHEAD = 2
WITHIN_S = 120.0
_FAILURES: tuple[type[Exception], ...] = (asyncpg.PostgresError, *LOST)
LOCK_WITHIN_MS = 2000
"""Dropping needs all of `usage_events` for a moment. Who can not have it so soon tries again an hour later,
rather than keep readers and the recorder waiting behind it."""

QUERIES = load_queries(__file__, "retention")
log = logging.getLogger("tollway.ledger")


async def keep_months_forever(pool: Pool, months: int, every_s: float = EVERY_S) -> None:
    """Look after partitions every `every_s`; what fails is tried again at the next turn."""
    while True:
        try:
            await keep_months(pool, months, datetime.now(UTC))
        except _FAILURES as error:
            log.warning("partitions can not be looked after right now", extra={"error": str(error)})
        await asyncio.sleep(every_s)


async def keep_months(pool: Pool, months: int, now: datetime) -> list[str]:
    """Make the partitions of the months to come, drop what ended `months` full months ago or earlier.

    0 keeps all of them. Returns what was dropped; nothing is done while somebody else is at it.
    """
    async with pool.acquire(timeout=5) as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            return []
        try:
            async with asyncio.timeout(WITHIN_S):
                await connection.execute(QUERIES.ensure_ahead, MONTHS_AHEAD)
                return await _drop_before(connection, oldest_kept(now, months)) if months else []
        finally:
            await connection.fetchval("SELECT pg_advisory_unlock($1)", LOCK)


def oldest_kept(now: datetime, months: int) -> datetime:
    """The start of the oldest month that is kept: `months` before the present one."""
    month = now.year * 12 + now.month - 1 - months
    return month_of(now.astimezone(UTC)).replace(year=month // 12, month=month % 12 + 1)


async def _drop_before(connection: Connection, oldest: datetime) -> list[str]:
    if await layout_of(connection) is Layout.HYPERTABLE:
        return await _drop_chunks(connection, oldest)
    return await _drop_partitions(connection, oldest)


async def _drop_chunks(connection: Connection, oldest: datetime) -> list[str]:
    """A chunk goes when all of it is older."""
    schema = await schema_of(connection)
    drop = f"SELECT {schema}.drop_chunks('usage_events', older_than => $1::timestamptz) AS name"
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_WITHIN_MS}")
        dropped = [row["name"] for row in await connection.fetch(drop, oldest)]
    for name in dropped:
        log.info("%s was dropped: the sums of its calls stay", name)
    return dropped


async def _drop_partitions(connection: Connection, oldest: datetime) -> list[str]:
    dropped = []
    for row in await connection.fetch(QUERIES.months):
        if row["ends_at"] > oldest:
            continue
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_WITHIN_MS}")
            await connection.execute(f'DROP TABLE "{row["name"]}"')  # a name that matched its pattern
        dropped.append(row["name"])
        log.info("%s was dropped: the sums of its calls stay", row["name"])
    return dropped

"""Lays rows of calls out anew, in one transaction: nothing but an operator's command asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from gateway.ledger import retention
from gateway.ledger.layout import Layout, LayoutRefused, layout_of
from gateway.ledger.timescale import ensure_extension
from gateway.storage.postgres import Connection
from gateway.storage.queries import load_queries

LOCK_WITHIN_S = 60
"""At the end the table is needed alone for a moment. Who goes on reading it for so long undoes the work."""
MOVE_WITHIN_S = 7 * 24 * 3600.0
ALWAYS = "-infinity"

QUERIES = load_queries(__file__, "moving")

Tell = Callable[[int, int], None]


async def to_hypertable(connection: Connection, chunk_days: int, tell: Tell) -> int | None:
    """Lay rows out in a hypertable; how many were moved, None if they are in one already.

    If anything fails, also by `kill -9`, they are as they were. Who reads them goes on until the last moment;
    recorders wait, and journals grow meanwhile. `tell` hears how many of how many are moved.
    TimescaleUnusable or LayoutRefused say what to do.
    """
    if await layout_of(connection) is Layout.HYPERTABLE:
        return None
    schema = await ensure_extension(connection)
    async with _instead_of(connection, Layout.MONTHS):
        await connection.execute("CREATE TABLE usage_events_new (LIKE usage_events INCLUDING ALL)")
        await connection.execute(
            f"SELECT {schema}.create_hypertable('usage_events_new', {schema}.by_range('started_at', "
            f"interval '{chunk_days:d} days'), create_default_indexes => false)"
        )
        moved = await _move(connection, tell, partitions=False)
        await _take_its_place(connection)
    return moved


async def to_months(connection: Connection, tell: Tell) -> int | None:
    """The way back: lay rows out in partitions by month. As `to_hypertable`; the extension stays."""
    if await layout_of(connection) is Layout.MONTHS:
        return None
    async with _instead_of(connection, Layout.HYPERTABLE):
        await connection.execute(
            "CREATE TABLE usage_events_new (LIKE usage_events INCLUDING ALL) PARTITION BY RANGE (started_at)"
        )
        moved = await _move(connection, tell, partitions=True)
        await _take_its_place(connection)
        await connection.execute(retention.QUERIES.ensure_ahead, retention.MONTHS_AHEAD)
    return moved


@asynccontextmanager
async def _instead_of(connection: Connection, layout: Layout) -> AsyncIterator[None]:
    """A transaction in which nobody else writes rows, as the owner of their table."""
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN_S}s'")
            await connection.execute(QUERIES.without_end)
            await connection.execute("SELECT pg_advisory_xact_lock($1)", retention.LOCK)
            await connection.execute(QUERIES.hold_off_writers)
            if await layout_of(connection) is not layout:
                raise LayoutRefused(
                    "Somebody else has just laid the rows out. Look with `tollway rows show`."
                )
            if attached := [row["what"] for row in await connection.fetch(QUERIES.attached)]:
                raise LayoutRefused(
                    "Something of yours hangs on the table usage_events and would be lost: "
                    f"{', '.join(attached)}. Drop it, repeat this, and make it again."
                )
            if owner := await connection.fetchval(QUERIES.owner):
                await connection.execute(f"SET LOCAL ROLE {owner}")
            yield
    except asyncpg.LockNotAvailableError as error:
        raise LayoutRefused(
            f"The rows were in use by somebody else for {LOCK_WITHIN_S} s, and nothing was changed. "
            "See who it is in pg_stat_activity, and repeat this."
        ) from error


async def _move(connection: Connection, tell: Tell, *, partitions: bool) -> int:
    """Copy all rows into the new table, month by month; how many there are."""
    columns = await connection.fetchval(QUERIES.columns)
    total = await connection.fetchval(QUERIES.count_rows, timeout=MOVE_WITHIN_S)
    moved, since = 0, ALWAYS
    while month := await connection.fetchrow(QUERIES.next_month, since, timeout=MOVE_WITHIN_S):
        tell(moved, total)
        if partitions:
            await connection.execute(await connection.fetchval(QUERIES.make_partition, *month))
        done = await connection.execute(
            f"INSERT INTO usage_events_new ({columns}) SELECT {columns} FROM usage_events "  # noqa: S608 - our columns
            "WHERE started_at >= $1::text::timestamptz AND started_at < $2::text::timestamptz",
            *month,
            timeout=MOVE_WITHIN_S,
        )
        moved, since = moved + int(done.rpartition(" ")[2]), month["until"]
    if moved != total:
        raise LayoutRefused(f"{total} rows were to be moved, and {moved} were. Nothing was changed.")
    tell(moved, total)
    await connection.execute("ANALYZE usage_events_new", timeout=MOVE_WITHIN_S)
    return moved


async def _take_its_place(connection: Connection) -> None:
    statements = [row["statement"] for row in await connection.fetch(QUERIES.afterwards)]
    await connection.execute("DROP TABLE usage_events", timeout=MOVE_WITHIN_S)
    await connection.execute("ALTER TABLE usage_events_new RENAME TO usage_events")
    for statement in statements:
        await connection.execute(statement)

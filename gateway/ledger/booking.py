"""Books batches of events in Postgres: rows, sums and the journal's cursor in one transaction, or nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from gateway.journal.reader import Position
from gateway.ledger.aggregates import Tally, TotalRow, month_of, monthly_totals
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.events import UsageEvent
from gateway.ledger.open_calls import OpenCalls
from gateway.ledger.rows import EVENT_COLUMNS, copy_of
from gateway.storage.postgres import LOST, Connection, Pool
from gateway.storage.queries import load_queries

ACQUIRE_TIMEOUT_S = 5.0
BOOK_TIMEOUT_S = 60.0

QUERIES = load_queries(__file__, "booking")
log = logging.getLogger("tollway.ledger")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a journal has been booked.

    `open_calls`: calls of segments before it that were open when it came into its segment. None: all of which
    no end is seen (a cursor of an older release).
    """

    position: Position
    open_calls: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Where a cursor was and where it goes. `open_calls` if it comes into another segment."""

    expected: Position
    position: Position
    open_calls: Sequence[int] | None = None
    finished: bool = False


class Booking:
    """What the recorder asks of Postgres. Everything raises LedgerUnavailable, then nothing has changed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._months: set[datetime] = set()  # whose partitions are there

    async def follow(self, journal_id: str) -> Cursor | None:
        """How far a journal has been booked; None if it is finished."""
        async with self._connection() as connection:
            await connection.execute(QUERIES.open_cursor, journal_id)
            row = await connection.fetchrow(QUERIES.read_cursor, journal_id)
        if row is None or row["closed"]:
            return None
        open_calls = None if row["open_calls"] is None else frozenset(row["open_calls"])
        return Cursor(Position(row["segment"], row["offset_bytes"]), open_calls)

    async def cursor_of(self, journal_id: str) -> tuple[Position, bool] | None:
        """Where the cursor of a journal is and whether it is closed; None if there is none."""
        async with self._connection() as connection:
            row = await connection.fetchrow(QUERIES.read_cursor, journal_id)
        return None if row is None else (Position(row["segment"], row["offset_bytes"]), row["closed"])

    async def book(self, journal_id: str, move: Move, events: Sequence[UsageEvent]) -> bool:
        """Book `events` and move the cursor.

        False if the cursor is elsewhere: another recorder has booked meanwhile, and nothing has changed.
        The cursor keeps events from being booked twice, and stays when rows go. Should it be lost all the
        same, events whose rows are there are left out.
        """
        async with self._connection() as connection:
            tally = Tally(events)
            await self._ensure_months(connection, tally)
            with suppress(asyncpg.UniqueViolationError):
                booked = await _book(connection, journal_id, move, events, tally)
                if booked and (uses := tally.key_uses()):
                    await connection.execute(QUERIES.note_key_uses, list(uses), list(uses.values()))
                return booked
            new = await _not_booked_before(connection, events)
            known = len(events) - len(new)
            log.error(
                "%d events of a journal are in the ledger already and are not booked again",
                known,
                extra={"journal": journal_id, "count": known},
            )
            return await _book(connection, journal_id, move, new, Tally(new))

    async def look_up(self) -> tuple[datetime, bool]:
        """The time by Postgres, which all share, and whether somebody waits to hear how far journals are."""
        async with self._connection() as connection:
            row = await connection.fetchrow(QUERIES.look_up)
            assert row is not None, "a SELECT without FROM has a row"
            return row["present_time"], row["is_awaited"]

    async def note_seen(self, at: datetime, open_calls: Mapping[str, OpenCalls]) -> None:
        """Until `at`, all of these journals is booked; these calls are open in them."""
        async with self._connection() as connection:
            rows = [
                (journal, at, found.accounts, json.dumps(found.units, separators=(",", ":")))
                for journal, found in open_calls.items()
            ]
            await connection.executemany(QUERIES.note_seen, rows)

    async def _ensure_months(self, connection: Connection, tally: Tally) -> None:
        """Partitions for these events, however old they are, and for the month after each ahead of time."""
        months = tally.months()
        months |= {month_of(month + timedelta(days=31)) for month in months}
        for month in sorted(months - self._months):
            await connection.execute(QUERIES.ensure_month, month)
            self._months.add(month)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection, with the library's errors translated."""
        try:
            async with (
                asyncio.timeout(BOOK_TIMEOUT_S),
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection,
            ):
                yield connection
        except LOST as error:
            raise LedgerUnavailable(str(error) or type(error).__name__, lost=True) from error
        except asyncpg.PostgresError as error:
            self._months.clear()  # a partition may have been dropped under us
            raise LedgerUnavailable(str(error), lost=False) from error


async def _book(
    connection: Connection, journal_id: str, move: Move, events: Sequence[UsageEvent], tally: Tally
) -> bool:
    async with connection.transaction():
        row = await connection.fetchrow(QUERIES.lock_cursor, journal_id)
        if row is None or row["closed"] or Position(row["segment"], row["offset_bytes"]) != move.expected:
            return False
        if rows := [event for event in events if event.begin.call.raw]:
            pieces = list(copy_of(rows))  # not while copying: a failure would leave it open
            await connection.copy_to_table(
                "usage_events", source=_each(pieces), columns=EVENT_COLUMNS, format="binary"
            )
        await add_totals(connection, tally.hours())
        segment, offset = move.position.segment, move.position.offset
        await connection.execute(
            QUERIES.move_cursor, journal_id, segment, offset, move.finished, move.open_calls
        )
    return True


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The client library waits before each until PostgreSQL has taken enough of those before."""
    for piece in pieces:
        yield piece


async def add_totals(connection: Connection, hours: Sequence[TotalRow]) -> None:
    """Add to the sums of hours and months, within a transaction."""
    if hours:
        await connection.execute(QUERIES.add_hourly, *_columns(hours))
        await connection.execute(QUERIES.add_monthly, *_columns(monthly_totals(hours)))


async def _not_booked_before(connection: Connection, events: Sequence[UsageEvent]) -> list[UsageEvent]:
    """Events that are new. Those without rows may be as old as their neighbours: better free than twice."""
    events = [event for event in events if event.begin.call.raw]
    ids = [event.request_id for event in events]
    asked = [event.started_at for event in events], [UUID(bytes=one) for one in ids]
    known = {row["request_id"].bytes for row in await connection.fetch(QUERIES.booked_before, *asked)}
    return [event for event, one in zip(events, ids, strict=True) if one not in known]


def _columns(rows: Sequence[TotalRow]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]

"""What the ledger says about quotas: units by period, how far journals are booked, what was mended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from gateway.ledger.errors import LedgerUnavailable
from gateway.model.periods import Calendar, Period, calendar
from gateway.model.principal import Mode
from gateway.storage.postgres import LOST, Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "quotas")
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class JournalState:
    """How far one journal is booked, and whose calls were open in it."""

    closed: bool
    seen_at: datetime | None
    open_accounts: frozenset[int]


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """An account as people call it, its tier, and by what its periods are counted."""

    public_id: str
    tier: str
    calendar: Calendar


@dataclass(frozen=True, slots=True)
class Drift:
    """A counter that said something else than the ledger."""

    account_id: int
    mode: Mode
    meter: str
    per: Period
    start_s: int
    counted: int
    booked: int


class QuotaLedger:
    """What one asks to compare counters with the ledger. Everything raises LedgerUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def present_time(self) -> datetime:
        """The time by Postgres."""
        async with self._connection() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return now

    async def journals(self, named: Iterable[str]) -> dict[str, JournalState]:
        """Every journal that is not finished, and those that are `named`, as far as they are known."""
        async with self._connection() as connection:
            rows = await connection.fetch(QUERIES.journals, list(named))
        return {
            row["journal_id"]: JournalState(
                row["closed"], row["seen_at"], frozenset(row["open_accounts"] or ())
            )
            for row in rows
        }

    async def booked(self, meter: str, per: Period, start_s: int, end_s: int) -> dict[tuple[int, Mode], int]:
        """Units of every account that has any, and whose periods are those of the calendar in UTC."""
        start, end = datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)
        async with self._connection() as connection:
            if per == Period.MONTH:
                rows = await connection.fetch(QUERIES.month_booked, meter, start)
            else:
                rows = await connection.fetch(QUERIES.hours_booked, meter, start, end)
        return {(row["account_id"], Mode(row["mode"])): row["quantity"] for row in rows}

    async def calendars(self) -> list[Calendar]:
        """All that accounts have, but for that of UTC."""
        async with self._connection() as connection:
            rows = await connection.fetch(QUERIES.calendars)
        return [calendar(row["anchor"], row["time_zone"]) for row in rows]

    async def booked_by(
        self, meter: str, start_s: int, end_s: int, calendars: Sequence[Calendar]
    ) -> dict[tuple[int, Mode], int]:
        """Units of every account with one of these calendars that has any in a period."""
        start, end = datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)
        anchors, zones = [one.anchor for one in calendars], [one.time_zone for one in calendars]
        async with self._connection() as connection:
            rows = await connection.fetch(QUERIES.booked_by, meter, start, end, anchors, zones)
        return {(row["account_id"], Mode(row["mode"])): row["quantity"] for row in rows}

    async def accounts(self, numbers: Iterable[int]) -> dict[int, KnownAccount]:
        """Those of these accounts that there are."""
        async with self._connection() as connection:
            rows = await connection.fetch(QUERIES.tiers_of, list(numbers))
        return {row["id"]: _known(row) for row in rows}

    async def note(self, drift: Drift) -> None:
        """Keep that a counter was set right."""
        start = datetime.fromtimestamp(drift.start_s, UTC)
        what = (drift.account_id, drift.mode.value, drift.meter, drift.per.text)
        async with self._connection() as connection:
            await connection.execute(QUERIES.note_drift, *what, start, drift.counted, drift.booked)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
                yield connection
        except LOST as error:
            raise LedgerUnavailable(str(error) or type(error).__name__, lost=True) from error
        except asyncpg.PostgresError as error:
            raise LedgerUnavailable(str(error), lost=False) from error


def _known(row: asyncpg.Record) -> KnownAccount:
    return KnownAccount(row["public_id"], row["tier"], calendar(row["anchor"], row["time_zone"]))

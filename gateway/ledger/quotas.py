"""What the ledger says about quotas: units by period, how far journals are booked, what was mended."""

from __future__ import annotations

import json
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
PAGE = 2000
"""Rows held at once where there may be one for each account."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """How far one journal is booked, and whose calls were open in it."""

    closed: bool
    seen_at: datetime | None
    open_accounts: frozenset[int]
    moved_since: bool = False  # something was booked since `seen_at`: who has calls open then is not known


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """An account as people call it, its tier, and by what its periods are counted."""

    public_id: str
    tier: str
    calendar: Calendar


@dataclass(frozen=True, slots=True)
class OpenUnits:
    """What open calls of an account will pay. `started_s` is when, to a quarter of an hour."""

    account_id: int
    mode: Mode
    meter: str
    started_s: int
    units: int


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


class BookedView:
    """The ledger at one moment. What it raises, `QuotaLedger.view` translates."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def journals(self) -> dict[str, JournalState]:
        """Every journal that is not finished."""
        return await _journals(self._connection, ())

    async def open_units(self) -> list[OpenUnits]:
        """What calls under way will pay, by what recorders told last."""
        rows = await self._connection.fetch(QUERIES.open_units)
        return [
            OpenUnits(account_id, Mode(mode), meter, started_s, units)
            for row in rows
            for account_id, mode, meter, started_s, units in json.loads(row["open_units"])
        ]

    async def booked(
        self, meter: str, per: Period, start_s: int, end_s: int
    ) -> AsyncIterator[tuple[int, Mode, int]]:
        """As `QuotaLedger.booked`, a page at a time."""
        query, args = _booked_query(meter, per, start_s, end_s)
        async for row in self._connection.cursor(query, *args, prefetch=PAGE):
            yield row["account_id"], Mode(row["mode"]), row["quantity"]

    async def booked_by(
        self, meter: str, start_s: int, end_s: int, calendars: Sequence[Calendar]
    ) -> AsyncIterator[tuple[int, Mode, int]]:
        """As `QuotaLedger.booked_by`, a page at a time."""
        args = _booked_by_args(meter, start_s, end_s, calendars)
        async for row in self._connection.cursor(QUERIES.booked_by, *args, prefetch=PAGE):
            yield row["account_id"], Mode(row["mode"]), row["quantity"]

    async def calendars(self) -> list[Calendar]:
        """As `QuotaLedger.calendars`."""
        return await _calendars(self._connection)

    async def calendars_of(self, numbers: Iterable[int]) -> dict[int, Calendar]:
        """Those of these accounts."""
        rows = await self._connection.fetch(QUERIES.tiers_of, list(numbers))
        return {row["id"]: calendar(row["anchor"], row["time_zone"]) for row in rows}


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
            return await _journals(connection, named)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[BookedView]:
        """The ledger as it is at one moment."""
        async with (
            self._connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield BookedView(connection)

    async def ask_rebuild(self, server: str) -> tuple[int, datetime]:
        """Ask all recorders how far they are: counters are rebuilt. Its number, and when, by Postgres."""
        async with self._connection() as connection:
            row = await connection.fetchrow(QUERIES.ask_rebuild, server)
            assert row is not None, "INSERT ... RETURNING returns the row"
            return row["id"], row["asked_at"]

    async def note_rebuilt(self, number: int, counters: int) -> None:
        """It is over."""
        async with self._connection() as connection:
            await connection.execute(QUERIES.note_rebuilt, number, counters)

    async def booked(self, meter: str, per: Period, start_s: int, end_s: int) -> dict[tuple[int, Mode], int]:
        """Units of every account that has any, and whose periods are those of the calendar in UTC."""
        query, args = _booked_query(meter, per, start_s, end_s)
        async with self._connection() as connection:
            rows = await connection.fetch(query, *args)
        return {(row["account_id"], Mode(row["mode"])): row["quantity"] for row in rows}

    async def calendars(self) -> list[Calendar]:
        """All that accounts have, but for that of UTC."""
        async with self._connection() as connection:
            return await _calendars(connection)

    async def booked_by(
        self, meter: str, start_s: int, end_s: int, calendars: Sequence[Calendar]
    ) -> dict[tuple[int, Mode], int]:
        """Units of every account with one of these calendars that has any in a period."""
        args = _booked_by_args(meter, start_s, end_s, calendars)
        async with self._connection() as connection:
            rows = await connection.fetch(QUERIES.booked_by, *args)
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


async def booked_units(
    connection: Connection, account_id: int, spans: Sequence[tuple[Mode, str, int, int]]
) -> list[int]:
    """Units that an account has in spans, whatever its calendar, all as of one moment.

    Each span is a mode, a meter, and its start and end in s. Raises what Postgres does.
    """
    modes = [mode.value for mode, _, _, _ in spans]
    meters = [meter for _, meter, _, _ in spans]
    starts = [datetime.fromtimestamp(start_s, UTC) for _, _, start_s, _ in spans]
    ends = [datetime.fromtimestamp(end_s, UTC) for _, _, _, end_s in spans]
    rows = await connection.fetch(QUERIES.booked_of, account_id, modes, meters, starts, ends)
    return [row[0] for row in rows]


def _known(row: asyncpg.Record) -> KnownAccount:
    return KnownAccount(row["public_id"], row["tier"], calendar(row["anchor"], row["time_zone"]))


def _booked_query(meter: str, per: Period, start_s: int, end_s: int) -> tuple[str, tuple[object, ...]]:
    start, end = datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)
    if per == Period.MONTH:
        return QUERIES.month_booked, (meter, start)
    return QUERIES.hours_booked, (meter, start, end)


def _booked_by_args(
    meter: str, start_s: int, end_s: int, calendars: Sequence[Calendar]
) -> tuple[object, ...]:
    start, end = datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)
    return meter, start, end, [one.anchor for one in calendars], [one.time_zone for one in calendars]


async def _calendars(connection: Connection) -> list[Calendar]:
    rows = await connection.fetch(QUERIES.calendars)
    return [calendar(row["anchor"], row["time_zone"]) for row in rows]


async def _journals(connection: Connection, named: Iterable[str]) -> dict[str, JournalState]:
    rows = await connection.fetch(QUERIES.journals, list(named))
    return {
        row["journal_id"]: JournalState(
            row["closed"], row["seen_at"], frozenset(row["open_accounts"] or ()), row["moved_since"]
        )
        for row in rows
    }

"""Reads usage back: sums for bills and pages, single calls for people who ask what happened."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal, get_args
from uuid import UUID

import asyncpg

from gateway.ledger.aggregates import month_of
from gateway.ledger.buckets import Bucket, bucket_starts
from gateway.ledger.cursors import (
    NO_CURSOR,
    event_cursor,
    parse_event_cursor,
    parse_sum_cursor,
    sum_cursor,
)
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool
from gateway.storage.queries import load_queries

MAX_EVENTS = 1000
MAX_SUMS = 10_000
"""Rows of a page of sums; about 3 MB as JSON."""
Dimension = Literal["account", "key", "route", "mode", "outcome"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

QUERIES = load_queries(__file__, "usage")
_WHOSE, _MARKED = "TRUE /* whose */", "TRUE /* marked */"
_OF_ACCOUNT = "account_id = (SELECT id FROM accounts WHERE public_id = $2)"


@dataclass(frozen=True, slots=True)
class Sums:
    """A question: whose usage (None: everybody's), of which span, in which buckets, of what.

    `by` is what rows are told apart by, besides the meter. `zone` is where days and months begin; it must be
    full hours from UTC (`buckets.has_full_hours`).
    """

    account: str | None
    start: datetime
    end: datetime
    bucket: Bucket | None = None
    mode: Mode | None = None
    zone: tzinfo = UTC
    by: Collection[Dimension] = DIMENSIONS
    key: str | None = None
    route: str | None = None
    outcome: str | None = None
    meter: str | None = None
    corrected: bool = True  # False: as it was booked before corrections


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which calls; None: any."""

    account: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    key: str | None = None
    route: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class PeriodUnits:
    """What an account used of a meter in a period. `quantity` has what was posted and corrected in it."""

    period_start: datetime
    meter: str
    quantity: int
    posted: int
    corrections: int
    calls: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Units of one meter, and how many calls they come from, within one bucket.

    `bucket_start` is None when no buckets were asked for, and so is what was not asked to tell apart.
    `account` and `key` are public ids, None also when nobody was recognised. Every call is in a row of
    `api_calls`, so its `events` count calls, but for the outcomes `posted` and `correction`.
    """

    bucket_start: datetime | None
    account: str | None
    key: str | None
    route: str | None
    mode: Mode | None
    outcome: str | None
    meter: str
    quantity: int
    events: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """One call as it was booked. `duration_us` and `first_byte_us` are 0 when unknown."""

    request_id: UUID
    started_at: datetime
    account: str | None
    key: str | None
    mode: Mode
    tier: str
    route: str
    upstream: str
    method: str
    outcome: str
    status: int
    ingress_bytes: int
    egress_bytes: int
    ingress_messages: int
    egress_messages: int
    duration_us: int
    first_byte_us: int
    charges: Mapping[str, int]
    code: str | None  # of the refusal; None: it was not refused
    refused_by: tuple[str, ...]
    shadows: tuple[str, ...]

    @property
    def cursor(self) -> str:
        """Hand this to `Usage.events` as `before` to get what comes after this row."""
        return event_cursor(self.started_at, self.request_id)


class Usage:
    """The ledger's readers. Only what is booked is seen: calls appear within a second or so of their end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def summary(
        self,
        account: str | None,
        start: datetime,
        end: datetime,
        bucket: Bucket | None = None,
        mode: Mode | None = None,
    ) -> list[UsageRow]:
        """Sums of [start, end), of one account (public id) or of all, in UTC buckets, oldest first.

        The grain is the hour of a call's start: an hour that `start` or `end` cuts counts in full. All rows,
        however many there are; whoever answers strangers asks for a `page`.
        """
        return await self.all(Sums(account, start, end, bucket, mode))

    async def all(self, sums: Sums) -> list[UsageRow]:
        """The same for any question."""
        return [_sum(row, sums) for row in await self._sums(sums, None, None)]

    async def page(
        self, sums: Sums, limit: int = MAX_SUMS, after: str | None = None
    ) -> tuple[list[UsageRow], str | None]:
        """The same: at most `limit` rows, never more than `MAX_SUMS`, and the cursor of the next page if any.

        `after` is the cursor that came with the page before. InvalidCursor if it is not.
        """
        limit = max(1, min(limit, MAX_SUMS))
        found = await self._sums(sums, limit + 1, after)
        page = found[:limit]
        return [_sum(row, sums) for row in page], sum_cursor(page[-1]) if len(found) > limit else None

    async def _sums(self, sums: Sums, limit: int | None, after: str | None) -> list[asyncpg.Record]:
        starts = None if sums.bucket is None else bucket_starts(sums.bucket, sums.start, sums.end, sums.zone)
        whole_months = sums.bucket != "hour" and all(
            map(_starts_month, (sums.start, sums.end, *(starts or ())))
        )
        return await self._pool.fetch(
            _query(months=whole_months, one_account=sums.account is not None),
            starts,
            sums.account,
            sums.start,
            sums.end,
            sums.mode.value if sums.mode is not None else None,
            limit,
            *(parse_sum_cursor(after) if after is not None else NO_CURSOR),
            list(sums.by),
            sums.key,
            sums.route,
            sums.outcome,
            sums.meter,
            not sums.corrected,
        )

    async def event(self, request_id: UUID) -> EventRow | None:
        """One call; None if it is not booked, or has no row (any more)."""
        row = await self._pool.fetchrow(QUERIES.event, request_id)
        return None if row is None else _event(row)

    async def events(
        self,
        account: str | None,
        limit: int = 100,
        before: str | None = None,
        *,
        refused_by: str | None = None,
        shadow: str | None = None,
        only: EventFilter = EventFilter(),
    ) -> list[EventRow]:
        """Single calls, newest first, of one account (public id) or of all. At most `MAX_EVENTS`.

        Only those that the limit `refused_by` refused, and that `shadow` would have refused if it was one.
        `before` is the `cursor` of the last row of the page before. InvalidCursor if it is not.
        """
        at, request_id = parse_event_cursor(before) if before is not None else (None, None)
        query = QUERIES.events
        if account is not None:
            query = query.replace(_WHOSE, f"e.{_OF_ACCOUNT.replace('$2', '$4')}")
        if refused_by is not None or shadow is not None:
            query = query.replace(_MARKED, "(e.refused_by IS NOT NULL OR e.shadows IS NOT NULL)")
        rows = await self._pool.fetch(
            query,
            max(0, min(limit, MAX_EVENTS)),
            at,
            request_id,
            account,
            only.start,
            only.end,
            only.key,
            only.route,
            only.outcome,
            refused_by,
            shadow,
        )
        return [_event(row) for row in rows]

    async def periods(
        self, account_id: int, starts: Sequence[datetime], end: datetime, mode: Mode = Mode.LIVE
    ) -> list[PeriodUnits]:
        """Units by meter in the periods that begin at `starts`, ascending, the last until `end`."""
        rows = await self._pool.fetch(QUERIES.periods, account_id, mode.value, list(starts), end)
        return [PeriodUnits(**row) for row in rows]

    async def period_total(
        self, account_id: int, meter: str, start: datetime, end: datetime, mode: Mode = Mode.LIVE
    ) -> int:
        """Units of one meter that an account has used in [start, end)."""
        full = all(at.minute == at.second == at.microsecond == 0 for at in (start, end))
        query = QUERIES.period_of_hours if full else QUERIES.period_total
        total = await self._pool.fetchval(query, account_id, meter, mode.value, start, end)
        return int(total)


def _starts_month(at: datetime) -> bool:
    at = at.astimezone(UTC)
    return at == month_of(at)


def _query(*, months: bool, one_account: bool) -> str:
    query: str = QUERIES.sums
    if months:
        query = query.replace("usage_hourly", "usage_monthly").replace("hour_start", "month_start")
    return query.replace(_WHOSE, f"u.{_OF_ACCOUNT}") if one_account else query


def _sum(row: asyncpg.Record, sums: Sums) -> UsageRow:
    return UsageRow(
        row["bucket_start"],
        row["account"],
        row["key"],
        row["route"] if "route" in sums.by else None,
        Mode(row["mode"]) if "mode" in sums.by else None,
        row["outcome"] if "outcome" in sums.by else None,
        row["meter"],
        row["quantity"],
        row["events"],
    )


def _event(row: asyncpg.Record) -> EventRow:
    values = dict(row)
    values |= {name: tuple(values[name] or ()) for name in ("refused_by", "shadows")}
    mode, charges = Mode(values.pop("mode")), json.loads(values.pop("charges"))
    return EventRow(mode=mode, charges=charges, **values)

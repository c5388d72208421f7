"""Reads usage back: sums for bills and pages, single calls for people who ask what happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import asyncpg

from gateway.ledger.aggregates import month_of
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
Bucket = Literal["hour", "day", "month"]

QUERIES = load_queries(__file__, "usage")


@dataclass(frozen=True, slots=True)
class Sums:
    """A question: whose usage (None: everybody's), of which span, in which buckets, of which keys."""

    account: str | None
    start: datetime
    end: datetime
    bucket: Bucket | None = None
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Units of one meter, and how many calls they come from, within one bucket.

    `bucket_start` is None when no buckets were asked for. `account` and `key` are public ids, None when
    nobody was recognised. Every call is in the row of `api_calls`, so its `events` counts calls.
    """

    bucket_start: datetime | None
    account: str | None
    key: str | None
    route: str
    mode: Mode
    outcome: str
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
        return [_sum(row) for row in await self._sums(Sums(account, start, end, bucket, mode), None, None)]

    async def page(
        self, sums: Sums, limit: int = MAX_SUMS, after: str | None = None
    ) -> tuple[list[UsageRow], str | None]:
        """The same: at most `limit` rows, never more than `MAX_SUMS`, and the cursor of the next page if any.

        `after` is the cursor that came with the page before. InvalidCursor if it is not.
        """
        limit = max(1, min(limit, MAX_SUMS))
        found = await self._sums(sums, limit + 1, after)
        page = found[:limit]
        return [_sum(row) for row in page], sum_cursor(page[-1]) if len(found) > limit else None

    async def _sums(self, sums: Sums, limit: int | None, after: str | None) -> list[asyncpg.Record]:
        whole_months = (
            sums.bucket in ("month", None) and _starts_month(sums.start) and _starts_month(sums.end)
        )
        return await self._pool.fetch(
            QUERIES.months if whole_months else QUERIES.hours,
            sums.bucket,
            sums.account,
            sums.start,
            sums.end,
            sums.mode.value if sums.mode is not None else None,
            limit,
            *(parse_sum_cursor(after) if after is not None else NO_CURSOR),
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
    ) -> list[EventRow]:
        """Single calls, newest first, of one account (public id) or of all. At most `MAX_EVENTS`.

        Only those that the limit `refused_by` refused, and that `shadow` would have refused if it was one.
        `before` is the `cursor` of the last row of the page before. InvalidCursor if it is not.
        """
        at, request_id = parse_event_cursor(before) if before is not None else (None, None)
        limit = max(0, min(limit, MAX_EVENTS))
        if refused_by is not None or shadow is not None:
            asked = (limit, at, request_id, account, refused_by, shadow)
            rows = await self._pool.fetch(QUERIES.marked_events, *asked)
        elif account is None:
            rows = await self._pool.fetch(QUERIES.events, limit, at, request_id)
        else:
            rows = await self._pool.fetch(QUERIES.account_events, limit, at, request_id, account)
        return [_event(row) for row in rows]

    async def period_total(
        self, account_id: int, meter: str, start: datetime, end: datetime, mode: Mode = Mode.LIVE
    ) -> int:
        """Units of one meter that an account has used in [start, end)."""
        total = await self._pool.fetchval(QUERIES.period_total, account_id, meter, mode.value, start, end)
        return int(total)


def _starts_month(at: datetime) -> bool:
    at = at.astimezone(UTC)
    return at == month_of(at)


def _sum(row: asyncpg.Record) -> UsageRow:
    return UsageRow(
        row["bucket_start"],
        row["account"],
        row["key"],
        row["route"],
        Mode(row["mode"]),
        row["outcome"],
        row["meter"],
        row["quantity"],
        row["events"],
    )


def _event(row: asyncpg.Record) -> EventRow:
    values = dict(row)
    values |= {name: tuple(values[name] or ()) for name in ("refused_by", "shadows")}
    mode, charges = Mode(values.pop("mode")), json.loads(values.pop("charges"))
    return EventRow(mode=mode, charges=charges, **values)

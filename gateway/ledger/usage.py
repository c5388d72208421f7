"""Reads usage back: sums for bills and pages, single calls for people who ask what happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import asyncpg

from gateway.ledger.aggregates import month_of
from gateway.ledger.errors import InvalidCursor
from gateway.ledger.events import instant
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool
from gateway.storage.queries import load_queries

MAX_EVENTS = 1000
Bucket = Literal["hour", "day", "month"]

QUERIES = load_queries(__file__, "usage")
_MICROSECOND = timedelta(microseconds=1)


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
    method: str
    outcome: str
    status: int
    ingress_bytes: int
    egress_bytes: int
    duration_us: int
    first_byte_us: int
    charges: Mapping[str, int]

    @property
    def cursor(self) -> str:
        """Hand this to `Usage.events` as `before` to get what comes after this row."""
        return f"{(self.started_at - instant(0)) // _MICROSECOND}.{self.request_id}"


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

        The grain is the hour of a call's start: an hour that `start` or `end` cuts counts in full.
        """
        whole_months = bucket in ("month", None) and _starts_month(start) and _starts_month(end)
        rows = await self._pool.fetch(
            QUERIES.months if whole_months else QUERIES.hours,
            bucket,
            account,
            start,
            end,
            mode.value if mode is not None else None,
        )
        return [
            UsageRow(
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
            for row in rows
        ]

    async def events(
        self, account: str | None, limit: int = 100, before: str | None = None
    ) -> list[EventRow]:
        """Single calls, newest first, of one account (public id) or of all. At most `MAX_EVENTS`.

        `before` is the `cursor` of the last row of the page before. InvalidCursor if it is not.
        """
        at, request_id = _parse_cursor(before) if before is not None else (None, None)
        limit = max(0, min(limit, MAX_EVENTS))
        if account is None:
            rows = await self._pool.fetch(QUERIES.events, limit, at, request_id)
        else:
            rows = await self._pool.fetch(QUERIES.account_events, limit, at, request_id, account)
        return [_event(row) for row in rows]

    async def period_total(
        self, account_id: int, meter: str, start: datetime, end: datetime, mode: Mode = Mode.LIVE
    ) -> int:
        """Units of one meter that an account has used in [start, end), which must be full hours."""
        assert all(at.minute == at.second == at.microsecond == 0 for at in (start, end)), "full hours only"
        total = await self._pool.fetchval(QUERIES.period_total, account_id, meter, mode.value, start, end)
        return int(total)


def _starts_month(at: datetime) -> bool:
    at = at.astimezone(UTC)
    return at == month_of(at)


def _event(row: asyncpg.Record) -> EventRow:
    values = dict(row)
    mode, charges = Mode(values.pop("mode")), json.loads(values.pop("charges"))
    return EventRow(mode=mode, charges=charges, **values)


def _parse_cursor(text: str) -> tuple[datetime, UUID]:
    at, _, request_id = text.partition(".")
    try:
        return instant(int(at)), UUID(request_id)
    except (ValueError, OverflowError) as error:
        raise InvalidCursor("The cursor is not one of ours. Start again without it.") from error

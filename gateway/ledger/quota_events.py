"""Thresholds of quotas that accounts reached, booked once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from gateway.ledger.errors import LedgerUnavailable
from gateway.model.principal import Mode
from gateway.storage.postgres import LOST, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "quota_events")
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class NewQuotaEvent:
    """What is booked: `threshold` percent of `amount` were reached in a period."""

    at_ms: int
    account_id: int
    mode: Mode
    quota: str
    meter: str
    per: str
    start_s: int
    end_s: int
    amount: int
    used: int
    threshold: int


@dataclass(frozen=True, slots=True)
class QuotaEvent:
    """What was booked. `account` is a public id; None if it is gone."""

    id: int
    at: datetime
    account: str | None
    mode: Mode
    quota: str
    meter: str
    per: str
    period_start: datetime
    period_end: datetime
    amount: int
    used: int
    threshold: int


class QuotaEvents:
    """The events of all accounts. Everything raises LedgerUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def book(self, events: Sequence[NewQuotaEvent]) -> list[QuotaEvent]:
        """Book these; those that are new come back. Again changes nothing."""
        columns = [list(column) for column in zip(*map(_row, events), strict=True)]
        return await self._fetch(QUERIES.book, *columns) if events else []

    async def page(
        self, limit: int, before: int | None = None, account: str | None = None, mode: Mode | None = None
    ) -> list[QuotaEvent]:
        """A page, newest first. `before` is the id of the last event of the page before."""
        return await self._fetch(QUERIES.page, before, limit, account, mode.value if mode else None)

    async def _fetch(self, query: str, *values: object) -> list[QuotaEvent]:
        try:
            async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
                rows = await connection.fetch(query, *values)
        except LOST as error:
            raise LedgerUnavailable(str(error) or type(error).__name__, lost=True) from error
        except asyncpg.PostgresError as error:
            raise LedgerUnavailable(str(error), lost=False) from error
        return [QuotaEvent(**{**row, "mode": Mode(row["mode"])}) for row in rows]


def _row(one: NewQuotaEvent) -> tuple[object, ...]:
    return (
        datetime.fromtimestamp(one.at_ms / 1000, UTC),
        one.account_id,
        one.mode.value,
        one.quota,
        one.meter,
        one.per,
        datetime.fromtimestamp(one.start_s, UTC),
        datetime.fromtimestamp(one.end_s, UTC),
        one.amount,
        one.used,
        one.threshold,
    )

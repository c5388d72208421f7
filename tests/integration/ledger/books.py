"""Recorders over real journals and a real Postgres, and what the ledger then says."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from gateway.clock import ManualClock
from gateway.journal.writer import JournalWriter
from gateway.ledger.recorder import Recorder
from gateway.storage.postgres import Pool
from gateway.telemetry.slots import Slots
from tests.unit.journal.journals import make_writer


class Plug:
    """The pool, or the error that stands for its absence."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.error: Exception | None = None
        self.asked = 0

    def acquire(self, *, timeout: float) -> object:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.pool.acquire(timeout=timeout)


class Books:
    """One journals directory and one database."""

    def __init__(self, pool: Pool, journals_dir: Path) -> None:
        self.pool = pool
        self.plug = Plug(pool)
        self.journals_dir = journals_dir
        self.clock = ManualClock()
        self.slots = Slots.in_memory()

    def writer(self, number: int = 1, *, segment_bytes: int = 4096) -> JournalWriter:
        prefix = b"\x01\x92\xf1\xa2\xb3\xc4\x8a\xbc\x9d" + bytes((number,))
        return make_writer(self.journals_dir, prefix=prefix, clock=self.clock, segment_bytes=segment_bytes)

    def recorder(self) -> Recorder:
        return Recorder(cast("Pool", self.plug), self.journals_dir, self.slots, self.clock)

    async def book_all(self, recorder: Recorder | None = None) -> int:
        recorder = recorder or self.recorder()
        total = 0
        while booked := await recorder.book_once():
            total += booked
        return total

    async def outcomes(self) -> dict[str, int]:
        rows = await self.pool.fetch("SELECT outcome, count(*) AS n FROM usage_events GROUP BY 1")
        return {row["outcome"]: row["n"] for row in rows}

    async def disagreements(self) -> list[tuple[object, ...]]:
        """Where the sums of hours or months differ from the sums of the raw rows."""
        rows = await self.pool.fetch(SUMS_THAT_DIFFER)
        return [tuple(row) for row in rows]

    @property
    def left(self) -> list[str]:
        """Journals that are still on disk."""
        return sorted(path.name for path in self.journals_dir.iterdir())


SUMS_THAT_DIFFER = """
WITH cells AS (
    SELECT e.started_at, coalesce(e.account_id, 0) AS account_id, coalesce(e.key_id, 0) AS key_id,
           e.route, e.mode, e.outcome, cell.meter, cell.quantity
    FROM usage_events e
    CROSS JOIN LATERAL (
        SELECT 'api_calls' AS meter, coalesce((e.charges ->> 'api_calls')::bigint, 0) AS quantity
        UNION ALL SELECT 'ingress_bytes', e.ingress_bytes WHERE e.ingress_bytes > 0
        UNION ALL SELECT 'egress_bytes', e.egress_bytes WHERE e.egress_bytes > 0
        UNION ALL SELECT 'duration_ms', e.duration_us / 1000 WHERE e.duration_us >= 1000
        UNION ALL SELECT 'messages', e.ingress_messages + e.egress_messages
            WHERE e.ingress_messages + e.egress_messages > 0
        UNION ALL SELECT key, value::bigint FROM jsonb_each_text(e.charges) WHERE key <> 'api_calls'
    ) cell
),
hours AS (
    SELECT date_trunc('hour', started_at, 'UTC') AS start, account_id, key_id, route, mode, outcome, meter,
           count(*)::bigint AS events, sum(quantity)::bigint AS quantity
    FROM cells GROUP BY 1, 2, 3, 4, 5, 6, 7
),
months AS (
    SELECT date_trunc('month', started_at, 'UTC') AS start, account_id, key_id, route, mode, outcome, meter,
           count(*)::bigint AS events, sum(quantity)::bigint AS quantity
    FROM cells GROUP BY 1, 2, 3, 4, 5, 6, 7
),
hourly AS (
    SELECT hour_start AS start, account_id, key_id, route, mode, outcome, meter, events, quantity
    FROM usage_hourly
),
monthly AS (
    SELECT month_start AS start, account_id, key_id, route, mode, outcome, meter, events, quantity
    FROM usage_monthly
)
SELECT * FROM (
    (TABLE hours EXCEPT TABLE hourly) UNION ALL (TABLE hourly EXCEPT TABLE hours)
    UNION ALL (TABLE months EXCEPT TABLE monthly) UNION ALL (TABLE monthly EXCEPT TABLE months)
) AS differ
"""

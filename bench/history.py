"""What the usage API asks of a ledger with many calls: how long it takes, and what more calls change."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from gateway.ledger.usage import Sums, Usage
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import migrate
from gateway.storage.postgres import Pool, connect_pool

NAME = "history"
MILLIONS = 2.0
ACCOUNTS = 1000
DAYS = 28
TIMES = 9
STEP_ROWS = 500_000
FILL_WITHIN_S = 3600

FILL_ACCOUNTS = """
INSERT INTO accounts (public_id, name, tier)
SELECT 'acct_' || lpad(n::text, 20, '0'), 'a', 'team' FROM generate_series(1, $1::bigint) AS n
"""
FILL_EVENTS = """
INSERT INTO usage_events (started_at, request_id, account_id, key_id, ingress_bytes, egress_bytes,
    duration_us, first_byte_us, status, mode, outcome, tier, route, method, charges)
SELECT $1::timestamptz + n * $2::interval, gen_random_uuid(), 1 + n % $3, 1 + n % $3, 10, 84, 1500, 900, 200,
    'live', 'served', 'team', 'builds', 'GET', '{"api_calls": 1}'
FROM generate_series($4::bigint, $5::bigint - 1) AS n
"""
FILL_HOURS = """
INSERT INTO usage_hourly (hour_start, account_id, key_id, events, quantity, mode, outcome, route, meter)
SELECT $1::timestamptz + h * interval '1 hour', a, a, 5, 5, 'live', 'served', 'builds', m
FROM generate_series(0, $3::bigint * 24 - 1) AS h, generate_series(1, $2::bigint) AS a,
    unnest(ARRAY['api_calls', 'egress_bytes', 'duration_ms']) AS m
"""
FILL_MONTHS = """
INSERT INTO usage_monthly (month_start, account_id, key_id, events, quantity, mode, outcome, route, meter)
SELECT $1::timestamptz, account_id, key_id, sum(events), sum(quantity), mode, outcome, route, meter
FROM usage_hourly GROUP BY account_id, key_id, mode, outcome, route, meter
"""

Ask = Callable[[Usage], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: the fastest answer, and what PostgreSQL read for it."""

    ms: float
    blocks: int
    nodes: str


class Explaining:
    """A pool that also asks how PostgreSQL answers each query, with all it then really does."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.plans: list[dict[str, Any]] = []

    async def fetch(self, query: str, *arguments: Any) -> Any:
        """The rows."""
        await self._explain(query, arguments)
        return await self._pool.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        """The first row."""
        await self._explain(query, arguments)
        return await self._pool.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Its first value."""
        await self._explain(query, arguments)
        return await self._pool.fetchval(query, *arguments)

    async def _explain(self, query: str, arguments: tuple[Any, ...]) -> None:
        text = await self._pool.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments)
        self.plans.append(json.loads(text)[0]["Plan"])


def run(millions: float = MILLIONS) -> str:
    """Fill a PostgreSQL of its own, first with a tenth of the calls, and ask both times; markdown."""
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            return asyncio.run(_measured(server.url, round(millions * 1_000_000)))
        finally:
            server.stop()


async def _measured(url: str, rows: int) -> str:
    await migrate(url)
    pool = await connect_pool(url)
    start = (datetime.now(UTC) - timedelta(days=62)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    try:
        await pool.execute("SELECT ensure_usage_month($1)", start)
        await pool.execute(FILL_ACCOUNTS, ACCOUNTS)
        await pool.execute(FILL_HOURS, start, ACCOUNTS, DAYS, timeout=FILL_WITHIN_S)
        await pool.execute(FILL_MONTHS, start, timeout=FILL_WITHIN_S)
        few = await _asked(pool, start, 0, rows // 10)
        many = await _asked(pool, start, rows // 10, rows)
        hours = await pool.fetchval("SELECT count(*) FROM usage_hourly")
    finally:
        await pool.close()
    return _told(rows, hours, few, many)


async def _asked(pool: Pool, start: datetime, before: int, rows: int) -> dict[str, Asked]:
    """Fill up to so many calls, spread over all days, and ask."""
    step = timedelta(days=DAYS) / (rows - before)
    for first in range(before, rows, STEP_ROWS):
        print(f"\r\033[K{NAME}: {first:,} calls", end="", file=sys.stderr, flush=True)
        until, at = min(first + STEP_ROWS, rows), start - before * step
        await pool.execute(FILL_EVENTS, at, step, ACCOUNTS, first, until, timeout=FILL_WITHIN_S)
    for table in ("usage_events", "usage_hourly", "usage_monthly", "accounts"):
        await pool.execute(f"VACUUM ANALYZE {table}", timeout=FILL_WITHIN_S)
    return {name: await _one(pool, ask) for name, ask in _questions(start).items()}


def _questions(start: datetime) -> dict[str, Ask]:
    """What the API and the portal ask: a billing page, its calls, and what quotas are compared with."""
    number, account = 7, f"acct_{'7'.zfill(20)}"
    day, end = start + timedelta(days=1), start + timedelta(days=DAYS)
    return {
        "newest 100 calls of an account": lambda usage: usage.events(account, 100),
        "newest 100 calls of all": lambda usage: usage.events(None, 100),
        "four weeks of an account by day": lambda usage: usage.page(Sums(account, start, end, "day"), 1000),
        "a day of an account by hour": lambda usage: usage.page(Sums(account, start, day, "hour"), 1000),
        "an account's period, by meter": lambda usage: usage.periods(number, [start], end),
        "a quota's units in the period": lambda usage: usage.period_total(number, "api_calls", start, end),
    }


async def _one(pool: Pool, ask: Ask) -> Asked:
    usage, times = Usage(pool), []
    for _ in range(TIMES):
        start = time.perf_counter()
        await ask(usage)
        times.append(time.perf_counter() - start)
    explaining = Explaining(pool)
    await ask(Usage(cast("Pool", explaining)))
    blocks = sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in explaining.plans)
    nodes = dict.fromkeys(node for plan in explaining.plans for node in _readers(plan))
    return Asked(1000 * min(times), blocks, ", ".join(nodes))


def _readers(plan: dict[str, Any]) -> list[str]:
    """How tables are read that have calls or sums: the node, and the index if it has one."""
    found = [name for below in plan.get("Plans", []) for name in _readers(below)]
    index, table = plan.get("Index Name", ""), plan.get("Relation Name", "")
    if (index or table).startswith("usage_") and plan["Actual Loops"]:
        found.append(f"{plan['Node Type']} {index or table}")
    return found


def _told(rows: int, hours: int, few: dict[str, Asked], many: dict[str, Asked]) -> str:
    filled = (
        f"{hours:,} hourly sums of {ACCOUNTS:,} accounts, and {rows // 10:,} or {rows:,} calls of one month"
    )
    lines = [
        "### History",
        "",
        f"{filled}; the fastest of {TIMES} each.",
        "",
        f"| query | ms, blocks: {rows // 10:,} calls | {rows:,} calls | reads |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, one in many.items():
        before = few[name]
        lines.append(
            f"| {name} | {before.ms:.1f}, {before.blocks:,} | {one.ms:.1f}, {one.blocks:,} | {one.nodes} |"
        )
    return "\n".join(lines)

"""The ledger in a local PostgreSQL: how fast journals are booked, bytes of a call, how queries scale."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.machine import BenchError, cpu_s, descendants
from gateway.app.process import calm_collector
from gateway.clock import SystemClock
from gateway.journal.records import Call, encode_begin, encode_call, encode_end
from gateway.journal.writer import JournalWriter
from gateway.ledger.recorder import Recorder
from gateway.ledger.usage import Sums, Usage
from gateway.metering.request_ids import RequestIds
from gateway.model.principal import Mode
from gateway.outcomes import Outcome
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.embedded.server import read_pid
from gateway.storage.migrate import migrate
from gateway.storage.postgres import Pool, connect_pool
from gateway.telemetry.slots import Slots

NAME = "ledger"
CALLS = 200_000
ROUNDS = 3
ROWS = 500_000
ACCOUNTS = 200
TIMES = 7
FILL_WITHIN_S = 900

FILL_EVENTS = """
INSERT INTO usage_events (started_at, request_id, account_id, key_id, ingress_bytes, egress_bytes,
    duration_us, first_byte_us, status, mode, outcome, tier, route, method, charges)
SELECT $1::timestamptz + n * $2::interval, gen_random_uuid(), 1 + n % $3, 1 + n % $3, 10, 84, 1500, 900, 200,
    'live', 'served', 'team', 'builds', 'GET', '{"api_calls": 1}'
FROM generate_series(0, $4::bigint - 1) AS n
"""
FILL_HOURS = """
INSERT INTO usage_hourly (hour_start, account_id, key_id, events, quantity, mode, outcome, route, meter)
SELECT $1::timestamptz + h * interval '1 hour', a, a, 5, 5, 'live', 'served', 'builds', m
FROM generate_series(0, 671) AS h, generate_series(1, $2::bigint) AS a,
    unnest(ARRAY['api_calls', 'egress_bytes', 'duration_ms']) AS m
"""
SIZES = """
SELECT coalesce(sum(pg_relation_size(c.oid)) FILTER (WHERE c.relkind = 'r'), 0)::bigint AS rows,
       coalesce(sum(pg_relation_size(c.oid)) FILTER (WHERE c.relkind = 'i'), 0)::bigint AS indices
FROM pg_class c WHERE c.relname ~ '^usage_events_[0-9]'
"""


def run(calls: int = CALLS, rows: int = ROWS) -> str:
    """Fill a PostgreSQL of its own and measure; markdown."""
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            return asyncio.run(_measured(server, Path(folder) / "journals", calls, rows))
        finally:
            server.stop()


async def _measured(server: EmbeddedPostgres, journals: Path, calls: int, rows: int) -> str:
    await migrate(server.url)
    pool = await connect_pool(server.url)
    try:
        rounds = [await _booked(pool, server, journals / str(number), calls) for number in range(ROUNDS)]
        bytes_each = await _bytes_each(pool, calls * ROUNDS)
        queries = await _queries(pool, rows)
    finally:
        await pool.close()
    rates = [one.per_s for one in rounds]
    own_us, server_us = min(one.own_us for one in rounds), min(one.server_us for one in rounds)
    recorded = (
        f"The recorder booked {calls:,} calls of two journals, {ROUNDS} times: "
        f"**{max(rates):,.0f} events/s** at best, {min(rates):,.0f} at worst. "
        f"Each event took {own_us:.1f} us of its CPU and {server_us:.1f} us of PostgreSQL's. "
        f"A million calls take **{bytes_each[0]:,.0f} MB** of rows and "
        f"{bytes_each[1]:,.0f} MB of their indices."
    )
    return "\n".join(("### Ledger", "", recorded, "", *queries))


@dataclass(frozen=True, slots=True)
class Booked:
    """How fast a backlog went: events a second, and microseconds of CPU for each."""

    per_s: float
    own_us: float
    server_us: float


async def _booked(pool: Pool, server: EmbeddedPostgres, journals: Path, calls: int) -> Booked:
    clock, slots = SystemClock(), Slots.in_memory()
    for _ in range(2):
        _write(journals, clock, calls // 2)
    recorder = Recorder(pool, journals, slots, clock)
    calm_collector()  # as the recorder's process does
    servers = _processes_of(server)
    server_s = cpu_s(*servers)
    start, own_s, booked = time.perf_counter(), time.process_time(), 0
    while found := await recorder.book_once():
        booked += found
    took_s, own_s = time.perf_counter() - start, time.process_time() - own_s
    server_s = cpu_s(*servers) - server_s
    if booked != calls // 2 * 2:
        raise BenchError(f"{booked} of {calls} calls were booked")
    return Booked(booked / took_s, 1_000_000 * own_s / booked, 1_000_000 * server_s / booked)


def _processes_of(server: EmbeddedPostgres) -> list[int]:
    pid = read_pid(server.folder / "postmaster.pid")
    if pid is None:
        raise BenchError("PostgreSQL has ended")
    return [pid, *descendants(pid)]


def _write(journals: Path, clock: SystemClock, calls: int) -> None:
    """A journal of a worker that is gone: calls of many accounts, two at a time."""
    ids = RequestIds.make(clock.now_us() + secrets.randbits(16) * 1000)
    writer = JournalWriter(journals, prefix=ids.prefix, clock=clock, name="bench", sync_interval_s=None)
    texts = [
        encode_call(Call(account, account, Mode.LIVE, "team", "builds", "GET", {"api_calls": 1}))
        for account in range(1, ACCOUNTS + 1)
    ]
    at_us = clock.now_us()
    for sequence in range(calls):
        writer.begin(encode_begin(sequence, at_us + sequence, texts[sequence % ACCOUNTS]))
        writer.end(encode_end(sequence, (Outcome.SERVED, 1, 200, 10, 84, 1500, 900)))
    writer.close()


async def _bytes_each(pool: Pool, calls: int) -> tuple[float, float]:
    """Megabytes of rows and of indices for a million calls."""
    row = await pool.fetchrow(SIZES)
    assert row is not None
    return row["rows"] / calls, row["indices"] / calls


async def _queries(pool: Pool, rows: int) -> list[str]:
    """Times and plans of what the API asks, over so many raw rows and four weeks of sums."""
    start = (datetime.now(UTC) - timedelta(days=62)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await pool.execute("TRUNCATE usage_events, usage_hourly, usage_monthly")
    await pool.execute("SELECT ensure_usage_month($1)", start)
    await pool.execute(
        "INSERT INTO accounts (public_id, name, tier) SELECT 'acct_' || lpad(n::text, 20, '0'), 'a', 'team' "
        "FROM generate_series(1, $1::bigint) AS n",
        ACCOUNTS,
    )
    step = timedelta(days=28) / rows
    await pool.execute(FILL_EVENTS, start, step, ACCOUNTS, rows, timeout=FILL_WITHIN_S)
    await pool.execute(FILL_HOURS, start, ACCOUNTS, timeout=FILL_WITHIN_S)
    for table in ("usage_events", "usage_hourly"):
        await pool.execute(f"VACUUM ANALYZE {table}", timeout=FILL_WITHIN_S)
    usage, account, end = Usage(pool), f"acct_{'7'.zfill(20)}", start + timedelta(days=28)
    number = await pool.fetchval("SELECT id FROM accounts WHERE public_id = $1", account)
    asked: dict[str, Any] = {
        "newest 100 calls of an account": lambda: usage.events(account, 100),
        "newest 100 calls of all": lambda: usage.events(None, 100),
        "four weeks of an account by day": lambda: usage.page(Sums(account, start, end, "day"), 1000),
        "a day of an account by hour": lambda: usage.page(
            Sums(account, start, start + timedelta(days=1), "hour"), 1000
        ),
        "an account's period, by meter": lambda: usage.periods(number, [start], end),
        "a quota's units in the period": lambda: usage.period_total(number, "api_calls", start, end),
    }
    hours = await pool.fetchval("SELECT count(*) FROM usage_hourly")
    told = [
        f"Over {rows:,} calls and {hours:,} hourly sums of {ACCOUNTS:,} accounts, the fastest of {TIMES}:",
        "",
        "| query | ms |",
        "| --- | --- |",
    ]
    for name, ask in asked.items():
        told.append(f"| {name} | {await _fastest_ms(ask):.1f} |")
    return [*told, "", *await _plan(pool, number)]


async def _fastest_ms(ask: Any) -> float:
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


async def _plan(pool: Pool, account: int) -> list[str]:
    """What PostgreSQL does for a page of an account's calls, and how deep its index is."""
    text = await pool.fetchval(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT request_id FROM usage_events WHERE account_id = $1 "
        "ORDER BY started_at DESC, request_id DESC LIMIT 100",
        account,
    )
    plan = json.loads(text)[0]["Plan"]
    nodes = re.findall(r'"Node Type": "([^"]+)"', text)
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    text = (
        f"A page of an account's calls is {' over '.join(dict.fromkeys(nodes))}: {plan['Actual Rows']} rows "
        f"from {blocks} blocks, whatever else the table holds. Only its index gets deeper, by a "
        "level for each factor of some hundreds: with 100 million calls in a month it has one or two more "
        "than here. Sums are read by account and hour: how many depends on the account's own hours, keys and "
        "routes, not on the number of calls."
    )
    return [text]

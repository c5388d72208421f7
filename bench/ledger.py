"""The ledger in a local PostgreSQL: how fast journals are booked, and bytes of a call."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.machine import BenchError, cpu_s, descendants
from gateway.app.process import calm_collector
from gateway.clock import SystemClock
from gateway.journal.records import Call, encode_begin, encode_call, encode_end
from gateway.journal.writer import JournalWriter
from gateway.ledger.recorder import Recorder
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
ACCOUNTS = 200

SIZES = """
SELECT coalesce(sum(pg_relation_size(c.oid)) FILTER (WHERE c.relkind = 'r'), 0)::bigint AS rows,
       coalesce(sum(pg_relation_size(c.oid)) FILTER (WHERE c.relkind = 'i'), 0)::bigint AS indices
FROM pg_class c WHERE c.relname ~ '^usage_events_[0-9]'
"""


def run(calls: int = CALLS) -> str:
    """Book what waits into a PostgreSQL of its own; markdown."""
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            return asyncio.run(_measured(server, Path(folder) / "journals", calls))
        finally:
            server.stop()


async def _measured(server: EmbeddedPostgres, journals: Path, calls: int) -> str:
    await migrate(server.url)
    pool = await connect_pool(server.url)
    try:
        rounds = [await _booked(pool, server, journals / str(number), calls) for number in range(ROUNDS)]
        bytes_each = await _bytes_each(pool, calls * ROUNDS)
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
    return "\n".join(("### Ledger", "", recorded))


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

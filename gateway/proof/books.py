"""What is left when all is over: the witness's log, the ledger's rows and sums, Redis's counters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio

from gateway.admission.counters import QuotaCounters
from gateway.ledger.quotas import QuotaLedger
from gateway.model.policies import PolicySet
from gateway.reconciliation.reconciler import Reconciler
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from gateway.storage.postgres import Pool, connect_pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "audit")


@dataclass(slots=True)
class Sighting:
    """A request as the upstream saw it."""

    request_id: str
    number: int
    kind: str
    at_us: int = 0
    status: int = 0
    got: int = 0
    sent: int = 0
    messages: tuple[int, int] = (0, 0)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A usage event."""

    request_id: str
    account: str | None
    mode: str
    tier: str
    route: str
    outcome: str
    status: int
    ingress_bytes: int
    egress_bytes: int
    messages: tuple[int, int]
    charges: dict[str, int]
    key: str | None = None
    started_at_us: int = 0


@dataclass(frozen=True, slots=True)
class Counter:
    """A quota's counter in Redis."""

    account: str
    mode: str
    meter: str
    units: int


@dataclass(slots=True)
class Books:
    """Everything there is to compare."""

    sightings: list[Sighting] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    sums_that_differ: list[str] = field(default_factory=list)
    booked: dict[tuple[str, str, str], int] = field(default_factory=dict)  # account, mode, meter -> units
    of_nobody: dict[str, int] = field(default_factory=dict)  # outcome -> calls that are in the sums alone
    counters: list[Counter] = field(default_factory=list)
    set_right: list[Counter] = field(default_factory=list)  # the same, after reconciliation


def read_witness(log: Path) -> list[Sighting]:
    """Every request the upstream saw, in order; one that it saw twice is there twice."""
    found: list[Sighting] = []
    last: dict[str, Sighting] = {}
    for line in log.read_text().splitlines():
        told = json.loads(line)
        if "saw" in told:
            seen = last[told["saw"]] = Sighting(told["saw"], told["number"], told["kind"], told["at_us"])
            found.append(seen)
        else:
            seen = last[told["done"]]
            seen.status, seen.got, seen.sent = told["status"], told["got"], told["sent"]
            seen.messages, seen.whole = (told["messages"][0], told["messages"][1]), told["whole"]
    return found


@contextmanager
def stores(data_dir: Path) -> Iterator[tuple[str, str]]:
    """URLs of the Postgres and the Redis of a gateway that has stopped."""
    servers = (EmbeddedPostgres(data_dir), EmbeddedRedis(data_dir))
    try:
        with ThreadPoolExecutor(2) as starting:
            postgres, redis_ = starting.map(lambda server: server.start(), servers)
        yield postgres, redis_
    finally:
        for server in servers:
            server.stop()


async def read_books(log: Path, database_url: str, redis_url: str, policies: PolicySet | None) -> Books:
    """All of it; at last counters are set right as `tollway reconcile --repair` does, and read once more."""
    books = Books(sightings=await asyncio.to_thread(read_witness, log))
    pool = await connect_pool(database_url, max_size=1)
    client = redis.asyncio.Redis.from_url(redis_url)
    counters = QuotaCounters(client)
    try:
        await _read_ledger(pool, books)
        numbers = {row["id"]: row["public_id"] for row in await pool.fetch(QUERIES.account_numbers)}
        books.counters = await _read_counters(counters, numbers)
        # The gateway has stopped, so there is nothing to wait for between two looks.
        reconciler = Reconciler(QuotaLedger(pool), counters, lambda: policies, quiet_s=0.0)
        for _ in range(2):
            await reconciler.look(repair=True)
        books.set_right = await _read_counters(counters, numbers)
    finally:
        await client.aclose()
        await pool.close()
    return books


async def _read_counters(counters: QuotaCounters, numbers: Mapping[int, str]) -> list[Counter]:
    return [
        Counter(
            numbers.get(counted.account_id, str(counted.account_id)), counted.mode.value, counted.meter, units
        )
        async for counted, units in counters.read()
    ]


async def _read_ledger(pool: Pool, books: Books) -> None:
    for row in await pool.fetch(QUERIES.rows):
        books.rows.append(
            Row(
                row["request_id"],
                row["account"],
                row["mode"],
                row["tier"],
                row["route"],
                row["outcome"],
                row["status"],
                row["ingress_bytes"],
                row["egress_bytes"],
                (row["ingress_messages"], row["egress_messages"]),
                json.loads(row["charges"]),
                row["key"],
                round(row["started_at"].timestamp() * 1_000_000),
            )
        )
    for differs in await pool.fetch(QUERIES.sums_that_differ):
        books.sums_that_differ.append(" ".join(map(str, differs.values())))
    for sums in await pool.fetch(QUERIES.months_booked):
        books.booked[sums["account"], sums["mode"], sums["meter"]] = sums["quantity"]
    for sums in await pool.fetch(QUERIES.refused_of_nobody):
        books.of_nobody[sums["outcome"]] = sums["events"]

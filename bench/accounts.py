"""A million active accounts: what they take in Redis and in a worker, and what a call costs Redis."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.bare_gateway import NOBODY
from bench.machine import resident_bytes
from bench.report import markdown, row
from bench.rounds import say
from gateway.admission.admitter import Admitter
from gateway.admission.redis_store import RedisStore
from gateway.auth.cache import MAX_KEYS, KeyCache
from gateway.clock import SystemClock
from gateway.errors import AdmissionUnavailable
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.policies import ChargePlan
from gateway.model.principal import Mode, Principal
from gateway.policy.load import load_folder
from gateway.routing.table import RoutingTable
from gateway.storage.embedded import EmbeddedRedis
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

NAME = "accounts"
ACCOUNTS = 1_000_000
AT_ONCE = 128
EXACT_CALLS = 100_000
HEAD = ("figure", "value")
FOLDER = Path(__file__).parent / "policies"


def run(accounts: int = ACCOUNTS) -> str:
    """Markdown. Every account calls once, many at a time; then some again and again, decided by Redis."""
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        server = EmbeddedRedis(Path(folder), durable=False)
        try:
            rows = asyncio.run(_measured(server.start(), accounts))
        finally:
            server.stop()
    method = (
        f"{accounts:,} accounts with a rate and a quota, one key and one call each, {AT_ONCE} at a time, "
        "through the admission of one worker into one Redis; its key cache takes their keys."
    )
    return f"### Many accounts\n\n{method}\n\n{markdown(HEAD, rows)}"


class _Crowd:
    """Accounts that call through one worker's admission."""

    def __init__(self, redis: TickRedis, slots: Slots, tasks: Tasks) -> None:
        clock = SystemClock()
        self._now_us = clock.monotonic_us
        self.admitter = Admitter(RedisStore(redis, clock), slots, clock, tasks, "bench")
        self._redis = redis
        self._keys = KeyCache(slots)

    async def call(self, numbers: range, table: RoutingTable) -> None:
        """One call of each of these accounts, all at once."""
        head = RequestHead()
        head.method, head.path = "GET", "/"
        calls = []
        for number in numbers:
            exchange = Exchange(head, NOBODY, b"")
            exchange.route = table.match(head)
            exchange.principal = self._known(number)
            calls.append(self._admitted(exchange.principal, table.charges(exchange), exchange))
        await asyncio.gather(*calls)

    async def _admitted(self, principal: Principal, plan: ChargePlan, exchange: Exchange) -> None:
        while True:
            try:
                await self.admitter.admit(principal, plan, exchange)
            except AdmissionUnavailable:  # the machine has something else to do
                await self._redis.wait_until_up(10)
            else:
                return

    def _known(self, number: int) -> Principal:
        digest = hashlib.sha256(b"%d" % number).digest()
        if entry := self._keys.entries.get(digest):
            return entry.principal
        names = f"acct_{number:016x}", f"key_{number:016x}"
        identity = f"Tollway-Account: {names[0]}\r\nTollway-Tier: plentiful\r\n".encode()
        principal = Principal(number, names[0], number, names[1], "plentiful", Mode.LIVE, identity)
        return self._keys.put(digest, principal, self._now_us(), active=True).principal


async def _measured(url: str, accounts: int) -> list[str]:
    slots, tasks = Slots.in_memory(), Tasks()
    redis = TickRedis(parse_address(url), slots, tasks)
    redis.start()
    await redis.wait_until_up(10)
    crowd = _Crowd(redis, slots, tasks)
    try:
        return [*await _memory(crowd, redis, accounts), await _script(crowd, redis)]
    finally:
        await crowd.admitter.close()
        await tasks.close()
        await redis.close()


async def _memory(crowd: _Crowd, redis: TickRedis, accounts: int) -> list[str]:
    table, most = _table("plentiful"), 0
    before, redis_before = resident_bytes(os.getpid()), await _used(redis)
    for first in range(0, accounts, AT_ONCE):
        await crowd.call(range(first, min(accounts, first + AT_ONCE)), table)
        if first % (AT_ONCE * 400) == 0:
            say(f"{NAME}: {first:,} accounts")
            most = max(most, resident_bytes(os.getpid()))
    used = await _used(redis) - redis_before
    crowd.admitter.upkeep()
    gc.collect()
    after = resident_bytes(os.getpid())
    return [
        row("Redis, each account", f"{used / accounts:.0f} bytes"),
        row("Redis, all of them", f"{used / 1e6:.0f} MB"),
        row("a worker, at its most", f"{(most - before) / 1e6:.0f} MB"),
        row(f"a worker afterwards; it keeps {MAX_KEYS:,} keys", f"{(after - before) / 1e6:.0f} MB"),
    ]


async def _script(crowd: _Crowd, redis: TickRedis) -> str:
    table = _table("exact")
    await redis.call(("CONFIG", "RESETSTAT"))
    for first in range(0, EXACT_CALLS, AT_ONCE):
        await crowd.call(range(first, first + AT_ONCE), table)
    stats = (await _info(redis, "commandstats"))["cmdstat_evalsha"]
    each_us = dict(pair.split("=") for pair in stats.split(","))["usec_per_call"]
    return row("Redis's time in the script for a call that it decides, a rate and a quota", f"{each_us} us")


def _table(folder: str) -> RoutingTable:
    policies = load_folder(FOLDER / folder).policies
    assert policies is not None, "the bench policies load"
    return RoutingTable(policies, portal_url="http://127.0.0.1:8091")


async def _used(redis: TickRedis) -> int:
    return int((await _info(redis, "memory"))["used_memory"])


async def _info(redis: TickRedis, section: str) -> dict[str, str]:
    text: Any = await redis.call(("INFO", section))
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)

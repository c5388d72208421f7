"""Thresholds that workers on one Redis reach, and what is booked of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import pytest
import redis.asyncio

from gateway.accounts.store import Accounts
from gateway.admission.admitter import Admitter
from gateway.admission.crossings import EVENTS, Crossings
from gateway.admission.redis_store import RedisStore
from gateway.clock import ManualClock, SystemClock
from gateway.errors import QuotaExceeded, StoreUnavailable
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.quota_events import QuotaEvents
from gateway.model.policies import AdmissionMode, ChargePlan
from gateway.storage.postgres import Pool, connect_pool
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.thresholds.job import book_forever, book_once
from tests.unit.admission.plans import call, plan, principal, quota


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await connect_pool(database_url)
    yield made
    await made.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    made = redis.asyncio.Redis.from_url(redis_url)
    yield made
    await made.aclose()


@pytest.fixture
async def admitters(redis_url: str) -> AsyncIterator[list[Admitter]]:
    tasks, clock = Tasks(), SystemClock()
    made, clients = [], []
    for name in range(4):
        client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
        client.start()
        assert await client.wait_until_up()
        made.append(
            Admitter(
                RedisStore(client, clock, time_from=ManualClock(clock.now_us())),
                Slots.in_memory(),
                clock,
                tasks,
                name,
            )
        )
        clients.append(client)
    yield made
    for one, client in zip(made, clients, strict=True):
        await one.close()
        await client.close()
    await tasks.close()


async def rush(admitters: list[Admitter], account: int, charges: ChargePlan, calls: int) -> None:
    async def one(admitter: Admitter) -> None:
        with suppress(QuotaExceeded):
            await admitter.admit(principal(account), charges, call(account))

    await asyncio.gather(*(one(each) for each in itertools.islice(itertools.cycle(admitters), calls)))


@pytest.mark.parametrize("mode", list(AdmissionMode))
async def test_one_event_each_whoever_calls_and_however_many_book(
    pool: Pool,
    client: redis.asyncio.Redis,
    admitters: list[Admitter],
    mode: AdmissionMode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    account = await Accounts(pool, "tw").create_account("Acme", "small")
    charges = plan(quota(5000), mode=mode)
    for _ in range(54):
        await rush(admitters, account.id, charges, 100)
    events, slots = QuotaEvents(pool), Slots.in_memory()
    booked = await asyncio.gather(*(book_once(Crossings(client), events, slots) for _ in range(3)))
    assert sum(booked) == 2
    found = sorted(await events.page(10), key=lambda one: one.threshold)  # who books first is open
    assert [(one.account, one.quota, one.amount, one.threshold) for one in found] == [
        (account.public_id, "api_calls", 5000, 80),
        (account.public_id, "api_calls", 5000, 100),
    ]
    assert 4000 <= found[0].used < 4000 + 256
    assert found[1].used == 5000
    assert found[0].period_start <= found[0].at < found[0].period_end
    assert (slots.get("quota_events_total", "below"), slots.get("quota_events_total", "full")) == (1, 1)
    told = [one.getMessage() for one in caplog.records if one.name == "tollway.thresholds"]
    assert sorted(told) == [f"an account has used {part} % of its quota api_calls" for part in (100, 80)]
    assert await client.hlen(EVENTS) == 0
    await rush(admitters, account.id, charges, 50)
    assert await book_once(Crossings(client), events, slots) == 0


async def test_what_could_not_be_forgotten_is_not_booked_again(
    pool: Pool, client: redis.asyncio.Redis, admitters: list[Admitter]
) -> None:
    await rush(admitters, 7, plan(quota(1)), 1)
    left: Any = await client.hgetall(EVENTS)
    events, slots = QuotaEvents(pool), Slots.in_memory()
    assert await book_once(Crossings(client), events, slots) == 2
    await client.hset(EVENTS, mapping=left)
    assert await book_once(Crossings(client), events, slots) == 0
    assert await client.hlen(EVENTS) == 0
    assert [one.account for one in await events.page(9)] == [None, None], "the account may be gone"


async def test_what_can_not_be_booked_stays(client: redis.asyncio.Redis, admitters: list[Admitter]) -> None:
    class Gone:
        def acquire(self, *, timeout: float) -> object:
            raise OSError("gone")

    await rush(admitters, 7, plan(quota(1)), 1)
    with pytest.raises(LedgerUnavailable):
        await book_once(Crossings(client), QuotaEvents(cast("Pool", Gone())), Slots.in_memory())
    assert await client.hlen(EVENTS) == 2


async def test_an_outage_is_told_once(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    class Scripted(Crossings):
        def __init__(self) -> None:
            self.answers, self.done = [1, 1, 0], asyncio.Event()

        async def fetch(self) -> dict[bytes, object]:  # type: ignore[override]  # nothing is ever found
            if not self.answers:
                self.done.set()
            elif self.answers.pop(0):
                raise StoreUnavailable("gone")
            return {}

        async def forget(self, fields: list[bytes]) -> None:
            assert fields == []

    caplog.set_level(logging.INFO)
    crossings = Scripted()
    job = asyncio.ensure_future(book_forever(crossings, QuotaEvents(pool), Slots.in_memory(), 0))
    await crossings.done.wait()
    job.cancel()
    assert [record.getMessage() for record in caplog.records if record.name == "tollway.thresholds"] == [
        "events of quotas can not be booked",
        "events of quotas are booked again",
    ]

"""Counters in a real Redis against a real ledger: what is found, what is set right, what is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import redis.asyncio

from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaCounters, QuotaPeriod, counter_key
from gateway.admission.period import period_at
from gateway.admission.presence import JOURNALS
from gateway.admission.trust import MARK
from gateway.journal.records import Call
from gateway.journal.writer import JournalWriter
from gateway.ledger.quotas import QuotaLedger
from gateway.model.periods import Calendar, Period
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode
from gateway.policy.load import load_folder
from gateway.reconciliation.reconciler import Finding, Reconciler
from gateway.reconciliation.standing import Standing
from gateway.storage.postgres import Pool, connect_pool
from tests.integration.ledger.books import Books
from tests.unit.journal.journals import begin, end

POLICIES = """
upstreams: {up: {targets: [http://127.0.0.1:9]}}
tiers:
  small:
    quotas:
      - {meter: api_calls, amount: 100, per: month}
      - {name: daily, meter: api_calls, amount: 50, per: day}
  free: {}
routes: [{name: all, match: {path: /**}, upstream: up}]
"""


class World:
    """An account with calls in the ledger, and a counter to compare."""

    def __init__(self, books: Books, client: redis.asyncio.Redis, account: int, policies: PolicySet) -> None:
        self.books, self.redis, self.account = books, client, account
        self.reconciler = Reconciler(
            QuotaLedger(books.pool), QuotaCounters(client), lambda: policies, quiet_s=0.0
        )
        self.now_us = int(datetime.now(UTC).timestamp() * 1_000_000)

    def period(self, per: Period = Period.MONTH, mode: Mode = Mode.LIVE) -> QuotaPeriod:
        return QuotaPeriod(self.account, mode, "api_calls", per, period_at(per, self.now_us))

    async def served(self, calls: int, number: int = 1) -> JournalWriter:
        """So many calls in the ledger, their writer still alive."""
        writer = self.books.writer(number)
        call = Call(self.account, 1, Mode.LIVE, "small", "all", "GET", {"api_calls": 1})
        for sequence in range(calls):
            begin(writer, sequence, call, at_us=self.now_us)
            end(writer, sequence)
        await self.books.book_all()
        return writer

    async def calls_by(self, by: Calendar) -> None:
        """Give the account this calendar."""
        await self.books.pool.execute(
            "UPDATE accounts SET anchored = true, billing_anchor = $2, time_zone = $3 WHERE id = $1",
            self.account,
            by.anchor,
            by.time_zone,
        )

    async def count(self, units: int, per: Period = Period.MONTH) -> None:
        await self.redis.set(counter_key(self.period(per)), units, px=60_000)

    async def counted(self, per: Period = Period.MONTH) -> int | None:
        value = await self.redis.get(counter_key(self.period(per)))
        return None if value is None else int(value)

    async def look(self, *, repair: bool = True) -> dict[Period, tuple[int, int, Standing, bool]]:
        findings: list[Finding] = await self.reconciler.look(repair=repair)
        return {one.period.per: (one.counted, one.booked, one.standing, one.repaired) for one in findings}

    async def drifts(self) -> list[tuple[object, ...]]:
        rows = await self.books.pool.fetch("SELECT per, counted, booked FROM quota_drifts ORDER BY id")
        return [tuple(row) for row in rows]


@pytest.fixture
async def world(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(POLICIES)
    loaded = load_folder(tmp_path / "policies")
    assert loaded.policies is not None, loaded.problems
    pool: Pool = await connect_pool(database_url)
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.set(MARK, "whatever it is called")
    account = await Accounts(pool, "tw").create_account("Acme", "small")
    yield World(Books(pool, tmp_path / "journals"), client, account.id, loaded.policies)
    await client.aclose()
    await pool.close()


async def test_counters_that_agree_are_no_finding(world: World) -> None:
    writer = await world.served(5)
    await world.count(5)
    await world.count(5, Period.DAY)
    assert await world.look() == {}
    assert await world.drifts() == []
    writer.close()


async def test_counters_that_are_lost_come_back(world: World) -> None:
    writer = await world.served(5)
    assert await world.look() == dict.fromkeys((Period.MONTH, Period.DAY), (0, 5, Standing.BEHIND, True))
    assert await world.counted() == 5
    assert await world.redis.pttl(counter_key(world.period())) > 0, "it goes with its period"
    assert sorted(await world.drifts()) == [("day", 0, 5), ("month", 0, 5)]
    assert await world.look() == {}
    writer.close()


@pytest.mark.parametrize("text", ["", "abc", "1.5", "1e3", " 7", "9" * 20, None])
async def test_what_is_no_number_is_a_counter_that_is_lost(world: World, text: str | None) -> None:
    """Somebody's slip of the hand: it is set right, and keeps no other counter from being so."""
    writer = await world.served(5)
    key = counter_key(world.period())
    await (world.redis.rpush(key, "x") if text is None else world.redis.set(key, text))
    assert await QuotaCounters(world.redis).counted([world.period()]) == {}
    assert await world.look() == dict.fromkeys((Period.MONTH, Period.DAY), (0, 5, Standing.BEHIND, True))
    assert (await world.counted(), await world.counted(Period.DAY)) == (5, 5)
    assert await world.redis.pttl(key) > 0
    writer.close()


async def test_an_account_with_an_anchor_is_compared_by_its_own_periods(world: World) -> None:
    """In India, from yesterday on: what was used before belongs to the period before."""
    zone, day_us = "Asia/Kolkata", 86_400_000_000
    anchor = (datetime.fromtimestamp(world.now_us / 1_000_000, ZoneInfo(zone)) - timedelta(days=1)).date()
    by, present = Calendar(anchor, zone), world.now_us
    await world.calls_by(by)
    spans = [period_at(Period.MONTH, at_us, by) for at_us in (present, present - 2 * day_us)]
    now = QuotaPeriod(world.account, Mode.LIVE, "api_calls", Period.MONTH, spans[0])
    old = now._replace(span=spans[1])
    assert counter_key(now).endswith(f":month:{spans[0].start_s}-{spans[0].end_s}")
    world.now_us = spans[0].start_s * 1_000_000 - 1000
    (await world.served(2, number=1)).close()
    world.now_us = spans[0].start_s * 1_000_000
    (await world.served(3, number=2)).close()
    await world.redis.set(counter_key(old), 1)
    await world.redis.set(counter_key(world.period()), 77)  # of the calendar it had before
    found = {one.period: (one.counted, one.booked) for one in await world.reconciler.look(repair=True)}
    assert {one: found.get(one) for one in (now, old, world.period())} == {
        now: (0, 3),
        old: (1, 2),
        world.period(): None,
    }
    assert await world.redis.get(counter_key(now)) == b"3"
    assert [one async for one in QuotaCounters(world.redis).read() if one[0] == now] == [(now, 3)]


async def test_after_a_flush_none_is_made_before_all_are_rebuilt(world: World) -> None:
    """One that is there would be believed, and may lack what is not booked yet."""
    writer = await world.served(5)
    await world.redis.flushall()
    assert (await world.look())[Period.MONTH] == (0, 5, Standing.BEHIND, False)
    await QuotaCounters(world.redis).add({world.period(): 3}, world.now_us)
    assert await world.counted() is None
    assert await world.drifts() == []
    writer.close()


async def test_without_repair_nothing_is_written(world: World) -> None:
    writer = await world.served(5)
    await world.count(3)
    await world.count(5, Period.DAY)
    assert await world.look(repair=False) == {Period.MONTH: (3, 5, Standing.BEHIND, False)}
    assert await world.counted() == 3
    assert await world.drifts() == []
    writer.close()


async def test_what_a_killed_worker_left_charged_comes_back_once_its_journal_is_booked(world: World) -> None:
    writer = await world.served(5)
    await world.count(9)
    await world.count(5, Period.DAY)
    await world.redis.zadd(JOURNALS, {writer.folder.name: world.now_us // 1000})
    assert await world.look() == {Period.MONTH: (9, 5, Standing.UNDER_WAY, False)}
    assert await world.look() == {Period.MONTH: (9, 5, Standing.UNDER_WAY, False)}, "nobody read on"
    writer.close()
    await world.books.book_all()
    await world.books.recorder().book_once()
    await world.books.recorder().book_once()
    assert await world.look() == {Period.MONTH: (9, 5, Standing.AHEAD, True)}
    assert await world.counted() == 5
    assert await world.drifts() == [("month", 9, 5)]
    assert await world.redis.zcard(JOURNALS) == 0, "a finished journal is not asked for again"


async def test_a_worker_nobody_has_heard_of_in_the_ledger_keeps_counters_up(world: World) -> None:
    writer = await world.served(5)
    writer.close()
    await world.books.book_all()
    await world.books.recorder().book_once()
    await world.count(9)
    await world.count(5, Period.DAY)
    await world.redis.zadd(JOURNALS, {"0192f1a2b3c48abc9d77": world.now_us // 1000})
    await world.look()
    assert await world.look() == {Period.MONTH: (9, 5, Standing.UNDER_WAY, False)}


async def test_an_open_call_keeps_its_charge(world: World) -> None:
    """The recorder tells whose calls are open, and how far it is; it goes on while they last."""
    writer = await world.served(5)
    call = Call(world.account, 1, Mode.LIVE, "small", "all", "GET", {"api_calls": 1})
    begin(writer, 100, call, at_us=world.now_us)
    await world.count(6)
    await world.count(6, Period.DAY)
    recorder = world.books.recorder()
    await recorder.book_once()
    await world.look()
    world.books.clock.advance(20)
    await recorder.book_once()
    row = await world.books.pool.fetchrow("SELECT seen_at, open_accounts FROM journal_cursors")
    assert row is not None
    assert row["seen_at"] is not None
    assert row["open_accounts"] == [world.account]
    assert (await world.look())[Period.MONTH] == (6, 5, Standing.UNDER_WAY, False)
    end(writer, 100)
    await recorder.book_once()
    assert await world.look() == {}
    writer.close()


async def test_a_counter_that_moves_meanwhile_is_not_lowered(world: World) -> None:
    await world.count(9)
    counters = QuotaCounters(world.redis)
    assert not await counters.set_right(world.period(), 5, lower_from=8)
    assert not await counters.set_right(world.period(), 5, lower_from=None)
    assert await world.counted() == 9
    assert await counters.set_right(world.period(), 5, lower_from=9)
    assert await counters.set_right(world.period(), 7, lower_from=None)
    assert await world.counted() == 7

"""A Redis that lost its quota counters gets them back from the ledger before anybody believes them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis.asyncio

from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaCounters, QuotaPeriod, counter_key
from gateway.admission.period import period_at
from gateway.admission.trust import EMBEDDED, MARK
from gateway.clock import SystemClock
from gateway.errors import AdmissionUnavailable, QuotaExceeded, StoreUnavailable
from gateway.journal.records import Call
from gateway.journal.writer import JournalWriter
from gateway.ledger.quotas import QuotaLedger
from gateway.ledger.recorder import Recorder
from gateway.model.periods import Calendar, Period
from gateway.model.policies import AdmissionMode, ChargePlan, OnStoreLoss, PolicySet
from gateway.model.principal import Mode
from gateway.policy.load import load_folder
from gateway.reconciliation.job import LOCK, rebuild_forever
from gateway.reconciliation.rebuild import Interrupted, Rebuilder
from gateway.storage.postgres import Pool, connect_pool
from gateway.telemetry.slots import Slots
from tests.integration.ledger.books import Books
from tests.integration.redis.conftest import OwnRedis, Worker
from tests.unit.admission.plans import call, plan, principal, quota
from tests.unit.journal.journals import begin, end

POLICIES = """
upstreams: {up: {targets: [http://127.0.0.1:9]}}
tiers:
  small: {quotas: [{meter: api_calls, amount: 1000, per: month}]}
  other: {quotas: [{meter: api_calls, amount: 1000, per: day}]}
routes: [{name: all, match: {path: /**}, upstream: up}]
"""
AMOUNT, USED, WORKERS = 1000, 990, 4


class World:
    """A ledger and its recorder, a Redis, and an account that calls over several workers."""

    def __init__(
        self, books: Books, client: redis.asyncio.Redis, account: int, policies: PolicySet, url: str
    ) -> None:
        self.books, self.redis, self.account, self.url = books, client, account, url
        self.slots = Slots.in_memory()
        self.policies = policies
        self.journal: JournalWriter = books.writer(1)
        self.sequence = 0
        self.recorder = Recorder(books.pool, books.journals_dir, self.slots, SystemClock())
        self.call = Call(account, 1, Mode.LIVE, "small", "all", "GET", {"api_calls": 1})

    def rebuilder(self, wait_s: float = 20.0) -> Rebuilder:
        counters = QuotaCounters(self.redis)
        return Rebuilder(QuotaLedger(self.books.pool), counters, lambda: self.policies, wait_s=wait_s)

    @property
    def period(self) -> QuotaPeriod:
        now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
        span = period_at(Period.MONTH, now_us)
        return QuotaPeriod(self.account, Mode.LIVE, "api_calls", Period.MONTH, span)

    async def counted(self) -> int | None:
        value = await self.redis.get(counter_key(self.period))
        return None if value is None else int(value)

    def begin(self) -> int:
        self.sequence += 1
        begin(self.journal, self.sequence, self.call, at_us=SystemClock().now_us())
        return self.sequence

    def served(self, calls: int) -> None:
        for _ in range(calls):
            end(self.journal, self.begin())

    async def ask(self, worker: Worker, charges: ChargePlan) -> str:
        """What becomes of a call; one that passes is in the journal."""
        try:
            await worker.admitter.admit(principal(self.account), charges, call(self.account))
        except AdmissionUnavailable:
            return "unavailable"
        except QuotaExceeded:
            return "refused"
        self.served(1)
        return "passed"


@pytest.fixture
async def world(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async for made in _world(database_url, redis_url, tmp_path):
        yield made


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    redis = OwnRedis(tmp_path / "own")
    yield redis
    redis.server.stop()


@pytest.fixture
async def own_world(database_url: str, own_redis: OwnRedis, tmp_path: Path) -> AsyncIterator[World]:
    """With a Redis whose settings may be changed, and whose data."""
    async for made in _world(database_url, own_redis.url, tmp_path):
        yield made


async def _world(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(POLICIES)
    loaded = load_folder(tmp_path / "policies")
    assert loaded.policies is not None, loaded.problems
    pool: Pool = await connect_pool(database_url)
    client = redis.asyncio.Redis.from_url(redis_url)
    account = await Accounts(pool, "tw").create_account("Acme", "small")
    made = World(Books(pool, tmp_path / "journals"), client, account.id, loaded.policies, redis_url)
    yield made
    made.journal.close()
    await client.aclose()
    await pool.close()


@pytest.fixture
async def recording(world: World) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.ensure_future(world.recorder.run(stop))
    yield
    stop.set()
    await running


@pytest.fixture
async def workers(world: World) -> AsyncIterator[list[Worker]]:
    several = [await Worker(world.url, trusting=False, workers=WORKERS).start() for _ in range(WORKERS)]
    yield several
    for one in several:
        await one.close()


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await check():
            await asyncio.sleep(0.01)


async def test_open_calls_count_and_so_does_what_is_booked(world: World, recording: None) -> None:
    world.served(5)
    open_call = world.begin()
    assert await world.rebuilder().is_due()
    done = await world.rebuilder().rebuild()
    assert (done.counters, done.unheard) == (2, frozenset()), "one of each kind of period there is"
    assert await world.counted() == 6
    assert await world.redis.pttl(counter_key(world.period)) > 0, "it goes with its period"
    assert not await world.rebuilder().is_due()
    end(world.journal, open_call)


async def test_a_counter_that_says_more_stays(world: World, recording: None) -> None:
    world.served(5)
    await world.redis.set(counter_key(world.period), 8, px=60_000)
    await world.rebuilder().rebuild()
    assert await world.counted() == 8


@pytest.mark.parametrize("text", ["", "1.5", "9" * 20, None])
async def test_what_is_no_number_is_rebuilt_and_keeps_nobody_waiting(
    world: World, recording: None, text: str | None
) -> None:
    world.served(5)
    key = counter_key(world.period)
    await (world.redis.rpush(key, "x") if text is None else world.redis.set(key, text))
    await world.rebuilder().rebuild()
    assert not await world.rebuilder().is_due()
    assert await world.counted() == 5
    assert await world.redis.pttl(key) > 0


async def test_each_account_has_its_own_period(world: World, recording: None) -> None:
    """One whose months begin at its billing anchor: what was booked before today does not count."""
    today = datetime.now(UTC).date()
    await world.books.pool.execute(
        "UPDATE accounts SET anchored = true, billing_anchor = $1 WHERE id = $2", today, world.account
    )
    await world.books.pool.execute(
        "INSERT INTO usage_hourly SELECT date_trunc('hour', now(), 'UTC') - interval '25 hours', $1, 1, 9, 9,"
        " 'live', 'served', 'all', 'api_calls'",
        world.account,
    )
    world.served(5)
    await world.rebuilder().rebuild()
    span = period_at(Period.MONTH, SystemClock().now_us(), Calendar(today, "UTC"))
    assert await world.redis.get(counter_key(world.period._replace(span=span))) == b"5"


async def test_what_passed_uncharged_meanwhile_is_added(world: World, recording: None) -> None:
    world.served(5)
    await world.rebuilder().rebuild()
    world.served(2)

    async def added() -> bool:
        await world.rebuilder().catch_up()
        return await world.counted() == 7

    await until(added)
    assert not await world.rebuilder().is_due()


async def test_a_recorder_that_does_not_tell_is_not_waited_for_for_ever(world: World) -> None:
    world.served(5)
    await world.recorder.book_once()
    done = await world.rebuilder(wait_s=0.0).rebuild()
    assert len(done.unheard) == 1
    assert await world.counted() == 5


async def test_nobody_vouches_for_half_of_it(world: World, recording: None) -> None:
    """Redis is flushed again while it is filled."""
    world.served(5)

    class Flushed(QuotaCounters):
        async def raise_all(self, *args: object, **options: object) -> bool:
            await world.redis.flushall()
            return await super().raise_all(*args, **options)  # type: ignore[arg-type]  # handed on as they came

    ledger = QuotaLedger(world.books.pool)
    with pytest.raises(Interrupted):
        await Rebuilder(ledger, Flushed(world.redis), lambda: world.policies).rebuild()
    assert await world.rebuilder().is_due()
    assert await world.counted() is None


async def test_another_server_s_counters_are_doubted(world: World, workers: list[Worker]) -> None:
    """As after a failover, or a restart that lost the last second."""
    charges = plan(quota(AMOUNT))
    await world.redis.set(counter_key(world.period), 3, px=60_000)
    await world.redis.set(MARK, "an-older-run")
    assert await world.ask(workers[0], charges) == "unavailable"
    await world.redis.set(MARK, workers[0].redis.server)
    assert await world.ask(workers[0], charges) == "passed"
    assert await world.counted() == 4


async def test_what_needs_no_quota_is_decided_meanwhile(world: World, workers: list[Worker]) -> None:
    assert await world.ask(workers[0], plan(quota(AMOUNT, shadow=True))) == "passed"
    assert await world.ask(workers[0], plan(quota(AMOUNT))) == "unavailable"


async def test_units_charged_before_the_loss_do_not_come_off(world: World, workers: list[Worker]) -> None:
    await world.redis.set(counter_key(world.period), 3, px=60_000)
    await workers[0].store.refund(f"{world.account}l", {"q:x": 1})
    key = counter_key(world.period).partition(":q:")[2]
    await workers[0].store.refund(f"{world.account}l", {f"q:{key}": 2})
    assert await world.counted() == 3


@pytest.mark.parametrize("action", [OnStoreLoss.REFUSE, OnStoreLoss.LOCAL])
@pytest.mark.parametrize("mode", list(AdmissionMode))
async def test_a_flush_under_load_gives_no_unit_away(
    world: World,
    workers: list[Worker],
    recording: None,
    caplog: pytest.LogCaptureFixture,
    action: OnStoreLoss,
    mode: AdmissionMode,
) -> None:
    """Nearly all of a quota is used when Redis forgets it. Calls go on over four workers all the while."""
    caplog.set_level("INFO")
    charges, answers = plan(quota(AMOUNT), on_store_loss=action, mode=mode), list[str]()
    control = asyncio.ensure_future(rebuild_forever(world.rebuilder(), world.books.pool, world.slots))
    await until(_all_sure(workers))
    caplog.clear()
    world.served(USED - 100)
    await world.redis.set(counter_key(world.period), USED - 100, px=60_000)
    for number in range(100):
        answers.append(await world.ask(workers[number % WORKERS], charges))
    assert answers == ["passed"] * 100
    flushed, running = asyncio.Event(), True

    async def caller(worker: Worker) -> None:
        while running:
            answers.append(await world.ask(worker, charges))
            if len(answers) > 104:
                flushed.set()
            await asyncio.sleep(0.002)

    callers = [asyncio.ensure_future(caller(worker)) for worker in workers for _ in range(2)]
    await flushed.wait()
    await world.redis.flushall()
    await until(_some_unsure(workers))
    await until(_all_sure(workers))
    refused = len(answers) + 200
    await until(lambda: _more(answers, refused))
    running = False
    await asyncio.gather(*callers)
    control.cancel()
    passed = USED - 100 + answers.count("passed")
    assert (action, passed) == (action, AMOUNT)
    assert ("unavailable" in answers) is (action is OnStoreLoss.REFUSE), "whoever pays sees no 5xx otherwise"
    told = [record.message for record in caplog.records if record.name == "tollway.admission"]
    assert len([line for line in told if "may have been lost" in line]) == WORKERS, "once each"
    assert len([line for line in told if "were rebuilt" in line]) == WORKERS
    assert world.slots.get("quota_rebuilds_total") == 2


async def _drop(client: redis.asyncio.Redis, key: str) -> None:
    """Let a server that was set to drop keys drop this one: it is the next to expire."""
    await client.config_set("maxmemory-policy", "volatile-ttl")
    await client.config_set("maxmemory-samples", "64")
    room = int((await client.info("memory"))["used_memory"]) + 200_000
    await client.config_set("maxmemory", str(room))
    number = 0
    while await client.exists(key):
        number += 1
        await client.set(f"ballast{number}", "x" * 10_000, ex=3_000_000)


async def test_a_counter_that_was_dropped_for_room_gives_nothing_away(own_world: World) -> None:
    """Somebody sets another maxmemory-policy at runtime, and memory becomes short."""
    world, charges = own_world, plan(quota(AMOUNT))
    worker = await Worker(world.url, trusting=False).start()
    world.served(AMOUNT - 1)
    await world.recorder.book_once()
    await world.rebuilder(wait_s=0).rebuild()
    assert await world.ask(worker, charges) == "passed"
    assert await world.ask(worker, charges) == "refused"
    await _drop(world.redis, counter_key(world.period))
    assert await world.counted() is None
    assert await world.ask(worker, charges) == "unavailable", "whatever is missing may have been dropped"
    assert await QuotaCounters(world.redis).set_right(world.period, 1, lower_from=None) is False
    await QuotaCounters(world.redis).add({world.period: 1}, SystemClock().now_us())
    assert (await world.counted(), await world.rebuilder().is_due()) == (None, True)
    await world.redis.config_set("maxmemory", "0")
    await world.recorder.book_once()
    await world.rebuilder(wait_s=0).rebuild()
    await until(_all_sure([worker]))
    assert await world.ask(worker, charges) == "refused"
    assert await world.ask(worker, plan(quota(AMOUNT, per=Period.DAY))) == "refused", (
        "one made by the rebuild"
    )
    await worker.close()


async def test_nobody_vouches_for_a_redis_that_goes_on_dropping(own_world: World) -> None:
    world, counters, other = own_world, QuotaCounters(own_world.redis), "tw:{7l}:q:x:month:1"
    await counters.begin_rebuild("token")
    await world.redis.set(other, 1, px=60_000)
    await _drop(world.redis, other)
    assert not await counters.raise_all("token", [(world.period, 5)], vouch_for="it")
    assert await world.redis.get(MARK) is None


async def test_a_redis_that_came_back_with_an_older_snapshot_is_not_believed(
    own_world: World, own_redis: OwnRedis, tmp_path: Path
) -> None:
    """Counters jump back, and the mark in them is one that was right."""
    world, charges = own_world, plan(quota(AMOUNT))
    worker = await Worker(world.url, trusting=False).start()
    await world.rebuilder(wait_s=0).rebuild()
    data = next(path.parent for path in (tmp_path / "own").rglob("*.aof"))
    copy = tmp_path / "older"
    assert await world.ask(worker, charges) == "passed"
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("*.sock", "*.pid"))
    for _ in range(300):
        assert await world.ask(worker, charges) == "passed"
    await world.recorder.book_once()
    await world.redis.connection_pool.disconnect()
    own_redis.kill()
    shutil.copytree(copy, data, dirs_exist_ok=True)
    own_redis.start_again()
    await until(_is_up(worker))
    assert await world.counted() == 1, "it jumped back"
    assert await world.ask(worker, charges) == "unavailable"
    await world.rebuilder(wait_s=0).rebuild()
    await until(_all_sure([worker]))
    assert await world.counted() == 301
    await worker.close()


async def test_the_embedded_one_s_counters_are_raised_at_each_start(world: World) -> None:
    """It is called the same though it was started with an older snapshot."""
    world.served(5)
    await world.recorder.book_once()
    await world.redis.set(counter_key(world.period), 1, px=60_000)
    await world.redis.set(MARK, EMBEDDED)
    ledger, counters = QuotaLedger(world.books.pool), QuotaCounters(world.redis)
    embedded = Rebuilder(ledger, counters, lambda: world.policies, server=EMBEDDED)
    control = asyncio.ensure_future(rebuild_forever(embedded, world.books.pool, world.slots))

    async def raised() -> bool:
        return await world.counted() == 5

    await until(raised)
    control.cancel()
    assert world.slots.get("quota_rebuilds_total") == 0


async def test_a_redis_that_is_gone_is_for_workers_to_tell(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0

    class Gone(Rebuilder):
        async def is_due(self) -> bool:
            nonlocal looks
            looks += 1
            raise StoreUnavailable("gone")

    gone = Gone(QuotaLedger(world.books.pool), QuotaCounters(world.redis), lambda: world.policies)
    control = asyncio.ensure_future(rebuild_forever(gone, world.books.pool, world.slots))
    async with asyncio.timeout(60):
        while looks < 2:
            await asyncio.sleep(0.01)
    control.cancel()
    assert (caplog.records, world.slots.get("reconcile_errors_total")) == ([], 0)


async def test_without_postgres_what_the_policy_says_goes_on(world: World, workers: list[Worker]) -> None:
    async with world.books.pool.acquire() as other:  # stands for it: nobody gets his turn
        await other.execute("SELECT pg_advisory_lock($1)", LOCK)
        control = asyncio.ensure_future(rebuild_forever(world.rebuilder(), world.books.pool, world.slots))
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%'"
        while await other.fetchval(asked + " AND pid <> pg_backend_pid()") == 0:
            await asyncio.sleep(0)
        allowed = plan(quota(AMOUNT), on_store_loss=OnStoreLoss.ALLOW)
        for _ in range(3):
            assert await world.ask(workers[0], plan(quota(AMOUNT))) == "unavailable"
            assert await world.ask(workers[0], allowed) == "passed"
        assert workers[0].slots.get("quota_counters_trusted") == 0
        control.cancel()
        await other.execute("SELECT pg_advisory_unlock($1)", LOCK)


def _all_sure(workers: list[Worker]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return all(worker.trust is not None and worker.trust.sure for worker in workers)

    return check


def _some_unsure(workers: list[Worker]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return any(worker.trust is not None and not worker.trust.sure for worker in workers)

    return check


def _is_up(worker: Worker) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return worker.redis.up

    return check


async def _more(answers: list[str], than: int) -> bool:
    return len(answers) > than

"""The hot path's client against a real Redis: log-in, databases, outages."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis.asyncio
import uvloop

from gateway.errors import StoreUnavailable
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.conftest import OwnRedis, Worker


async def test_commands_and_their_answers(worker: Worker) -> None:
    redis = worker.redis
    waits = [redis.call(("SET", f"key{number}", number)) for number in range(100)]
    assert {await wait for wait in waits} == {b"OK"}
    assert [await redis.call(("GET", f"key{number}")) for number in (0, 50, 99)] == [b"0", b"50", b"99"]
    assert worker.slots.get("admission_store_calls_total") == 103
    assert worker.slots.get("admission_store_up") == 1


async def test_it_logs_in_and_picks_its_database(own_redis: OwnRedis, worker: Worker) -> None:
    await worker.redis.call(("ACL", "SETUSER", "gw", "on", ">secret", "~tw:*", "+@all"))
    url = own_redis.url.replace("unix://", "unix://gw:secret@") + "?db=3"
    other = await Worker(url).start()
    await other.redis.call(("SET", "tw:x", 1))
    with pytest.raises(StoreUnavailable, match="NOPERM"):
        await other.redis.call(("SET", "elsewhere", 1))
    assert b"db3" in await worker.redis.call(("INFO", "keyspace"))
    await other.close()


async def test_a_refused_log_in_is_told_once_and_tried_again(
    own_redis: OwnRedis, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    await worker.redis.call(("CONFIG", "SET", "requirepass", "right"))
    tasks = Tasks()
    address = parse_address(own_redis.url.replace("unix://", "unix://:hunter2@"))
    redis = TickRedis(address, Slots.in_memory(), tasks)
    redis.start()
    assert not await redis.wait_until_up(0.3)
    await worker.redis.call(("CONFIG", "SET", "requirepass", "hunter2"))
    assert await redis.wait_until_up(10)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "hunter2" not in str(warnings[0].__dict__)
    await redis.close()
    await tasks.close()


async def test_many_workers_do_not_come_back_in_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits longer and longer up to two seconds, and each another time."""
    tasks, waits, real_sleep = Tasks(), dict[asyncio.Task[Any] | None, list[float]](), asyncio.sleep

    async def sleep(delay_s: float) -> None:
        waits.setdefault(asyncio.current_task(), []).append(delay_s)
        await real_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    nobody = parse_address("unix:///nowhere/at-all.sock")
    workers = [TickRedis(nobody, Slots.in_memory(), tasks) for _ in range(20)]
    for one in workers:
        one.start()
    while len(waits) < 20 or min(map(len, waits.values())) < 8:
        await real_sleep(0)
    for turn, longest_s in enumerate((0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)):
        delays = [each[turn] for each in waits.values()]
        assert longest_s / 2 <= min(delays) < max(delays) <= longest_s
        assert len(set(delays)) > 15
    for one in workers:
        await one.close()
    await tasks.close()


async def test_scripts_survive_a_flush(worker: Worker) -> None:
    sha = worker.redis.script("return {KEYS[1], ARGV[1]}")
    answers = []
    for _ in range(2):
        await worker.redis.call(("SCRIPT", "FLUSH"))
        waits = [worker.redis.evalsha(sha, ("k",), (number,)) for number in range(20)]
        answers.append([await wait for wait in waits])
    assert answers == [[[b"k", b"%d" % number] for number in range(20)]] * 2


async def test_callers_that_leave_do_not_cross_answers(worker: Worker) -> None:
    chance = random.Random(11)
    crossed = []

    async def caller(number: int) -> None:
        answer = await worker.redis.call(("ECHO", number))
        if answer != b"%d" % number:
            crossed.append((number, answer))

    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    for number in range(10_000):
        tasks.append(loop.create_task(caller(number)))
        if chance.random() < 0.3:
            chance.choice(tasks[-50:]).cancel()
        if chance.random() < 0.05:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert crossed == []
    assert await worker.redis.call(("ECHO", "last")) == b"last"


async def test_killed_it_fails_at_once_and_comes_back(own_redis: OwnRedis, worker: Worker) -> None:
    own_redis.kill()
    while worker.redis.up:
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await worker.redis.call(("PING",))
    assert worker.slots.get("admission_store_up") == 0
    own_redis.start_again()
    assert await worker.redis.wait_until_up(10)
    assert await worker.redis.call(("PING",)) == b"PONG"


async def test_stopped_it_fails_and_comes_back(own_redis: OwnRedis, worker: Worker) -> None:
    own_redis.signal(signal.SIGSTOP)
    with pytest.raises(StoreUnavailable, match="no answer within 100 ms"):
        await worker.redis.call(("INCR", "counter"))
    with pytest.raises(StoreUnavailable, match="not connected"):
        await worker.redis.call(("INCR", "counter"))
    own_redis.signal(signal.SIGCONT)
    assert await worker.redis.wait_until_up(10)
    assert await worker.redis.call(("PING",)) == b"PONG"


async def test_a_replica_is_not_written_to(own_redis: OwnRedis, worker: Worker) -> None:
    operator = redis.asyncio.Redis.from_url(own_redis.url)
    await operator.replicaof("127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match=r"READONLY|MASTERDOWN"):
        await worker.redis.call(("SET", "x", 1))
    assert not await worker.redis.wait_until_up(0.5), "nor used"
    await operator.replicaof("NO", "ONE")
    await operator.aclose()
    assert await worker.redis.wait_until_up(10)
    assert await worker.redis.call(("SET", "x", 1)) == b"OK"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_stalled_loop_is_not_a_lost_redis(
    own_redis: OwnRedis, run: Callable[[Coroutine[None, None, None]], None]
) -> None:
    async def main() -> None:
        worker = await Worker(own_redis.url).start()
        loop = asyncio.get_running_loop()
        for start_s in (0.0, 0.02, 0.04, 0.06):
            for number in range(5):
                loop.call_later(start_s + number * 0.01, time.sleep, 0.05)
            for pause_s in (0.0, 0.001, 0.01):
                waits = [worker.redis.call(("ECHO", number)) for number in range(20)]
                await asyncio.sleep(pause_s)
                assert [await wait for wait in waits] == [b"%d" % number for number in range(20)]
        await worker.close()

    run(main())

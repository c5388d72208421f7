"""A Redis that a test may kill, stop and change, and workers that use it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.admission.admitter import Admitter
from gateway.admission.charges import Charges
from gateway.admission.redis_store import RedisStore
from gateway.admission.store import Ask
from gateway.admission.trust import CounterTrust
from gateway.clock import SystemClock
from gateway.model.policies import ChargePlan
from gateway.storage.embedded import EmbeddedRedis
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TIMEOUT_S, TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

PATIENT_S = 5.0


class OwnRedis:
    """A server of this test alone."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedRedis(folder)
        self.url = self.server.start()

    def signal(self, number: signal.Signals) -> None:
        assert self.server.pid is not None
        os.kill(self.server.pid, number)

    def kill(self) -> None:
        """Returns when it is dead."""
        self.signal(signal.SIGKILL)
        while self.server.pid is not None:
            time.sleep(0.001)

    def start_again(self) -> None:
        self.server.start()


class Worker:
    """What one worker process has of admission. `trusting`: it takes every counter for right.

    `PATIENT_S` as `timeout_s` for what is about exactness alone: a busy machine is no outage then.
    """

    def __init__(
        self, url: str, *, trusting: bool = True, workers: int = 1, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.slots = Slots.in_memory()
        self.tasks = Tasks()
        self.redis = TickRedis(parse_address(url), self.slots, self.tasks, timeout_s=timeout_s)
        self.trust = None if trusting else CounterTrust(self.redis, self.slots)
        self.store = RedisStore(self.redis, SystemClock(), self.trust)
        self.admitter = Admitter(self.store, self.slots, SystemClock(), self.tasks, "w1", workers=workers)

    async def start(self) -> Worker:
        self.redis.start()
        assert await self.redis.wait_until_up(10)
        if self.trust is not None:
            self.tasks.spawn(self.trust.watch(), name="admission.trust")
        return self

    async def left(self, charges: ChargePlan, tag: str = "7l") -> tuple[int, ...]:
        """What the counters hold now."""
        at = Charges(charges, self.store.now_ms())
        return (await self.store.decide(tag, at, Ask(calls=0))).left

    async def die(self) -> None:
        """Go without a word, as kill -9 does."""
        await self.tasks.close()
        await self.redis.close()

    async def close(self) -> None:
        await self.admitter.close()
        await self.die()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    redis = OwnRedis(tmp_path)
    yield redis
    if redis.server.pid is not None:
        redis.signal(signal.SIGCONT)
    redis.server.stop()


@pytest.fixture
async def worker(own_redis: OwnRedis) -> AsyncIterator[Worker]:
    one = await Worker(own_redis.url).start()
    yield one
    await one.close()


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[list[Worker]]:
    several = [await Worker(redis_url, timeout_s=PATIENT_S).start() for _ in range(4)]
    yield several
    for one in several:
        await one.close()

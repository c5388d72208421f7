"""Every store there is, each with a clock the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.admission.memory_store import MemoryStore
from gateway.admission.redis_store import RedisStore
from gateway.admission.store import Store
from gateway.clock import ManualClock, SystemClock
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_784_000_000_000_000)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[TickRedis]:
    """A client that is up."""
    tasks = Tasks()
    client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    client.start()
    assert await client.wait_until_up()
    yield client
    await client.close()
    await tasks.close()


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    tasks = Tasks()
    address = parse_address(request.getfixturevalue("redis_url"))
    client = TickRedis(address, Slots.in_memory(), tasks, timeout_s=5)
    redis_store = RedisStore(client, SystemClock(), time_from=clock)
    client.start()
    assert await client.wait_until_up()
    yield redis_store
    await client.close()
    await tasks.close()

"""Every store there is, each with a clock the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from gateway.admission.cluster_store import ClusterStore
from gateway.admission.cluster_trust import ClusterTrust
from gateway.admission.memory_store import MemoryStore
from gateway.admission.redis_store import RedisStore
from gateway.admission.store import Store
from gateway.clock import ManualClock, SystemClock
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.storage.tick_cluster import TickCluster
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.clusters import Cluster


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


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster.start()
    cluster.close()


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """The session's Redis Cluster, empty but for the marks of the accounts that the suite asks about."""
    _cluster.flush()
    for tag in ("7l", "7t", "8l"):
        _cluster.vouch_for(tag)
    return _cluster


@asynccontextmanager
async def store_in(cluster: Cluster, clock: ManualClock) -> AsyncIterator[ClusterStore]:
    tasks, slots = Tasks(), Slots.in_memory()
    client = TickCluster(parse_address(cluster.url), slots, tasks, timeout_s=5)
    made = ClusterStore(client, SystemClock(), ClusterTrust(client, slots), time_from=clock)
    client.start()
    assert await client.wait_until_up(30)
    yield made
    await client.close()
    await tasks.close()


@pytest.fixture
async def cluster_store(cluster: Cluster, clock: ManualClock) -> AsyncIterator[ClusterStore]:
    """A store in a Redis Cluster."""
    async with store_in(cluster, clock) as made:
        yield made


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    if request.param == "cluster":
        async with store_in(request.getfixturevalue("cluster"), clock) as made:
            yield made
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

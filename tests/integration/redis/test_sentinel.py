"""Real Sentinels over a real primary and its replica: found, followed through a failover, told about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import StartupError, StoreUnavailable
from gateway.storage import redis_tick
from gateway.storage.redis import check_redis, connect, parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.storage.sentinel import locate
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.servers import Server
from tests.ports import HOST, free_port

PASSWORD = "right"


class Service:
    """A primary, a replica and three Sentinels, all of which want passwords."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        secret = {"requirepass": PASSWORD, "masterauth": PASSWORD}
        self.primary = Server(folder / "1", free_port(), **secret)
        replicaof = f"{HOST} {self.primary.port}"
        self.replica = Server(folder / "2", free_port(), replicaof=replicaof, **secret)
        self.sentinels = [self._sentinel(number) for number in (3, 4, 5)]
        for one in (self.primary, self.replica):
            one.operator.connection_pool.connection_kwargs["password"] = PASSWORD
        for one in self.sentinels:
            one.operator.connection_pool.connection_kwargs["password"] = "watch"

    def _sentinel(self, number: int) -> Server:
        one = Server(self.folder / str(number), free_port())
        del one.options["save"]
        (one.folder / "sentinel.conf").write_text(
            f"requirepass watch\n"
            f"sentinel sentinel-pass watch\n"
            f"sentinel monitor shop {HOST} {self.primary.port} 2\n"
            f"sentinel auth-pass shop {PASSWORD}\n"
            "sentinel down-after-milliseconds shop 300\n"
            "sentinel failover-timeout shop 2000\n"
        )
        return one

    @property
    def url(self) -> str:
        places = ",".join(f"{HOST}:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{places}/shop?sentinel_password=watch"

    async def start(self) -> None:
        await self.primary.start()
        await self.replica.start()
        for one in self.sentinels:
            await one.start(str(one.folder / "sentinel.conf"), "--sentinel")
        async with asyncio.timeout(60):
            while not all([await self._knows_all(one) for one in self.sentinels]):
                await asyncio.sleep(0.02)

    async def _knows_all(self, one: Server) -> bool:
        shop: dict[str, int] = (await one.operator.sentinel_masters())["shop"]  # type: ignore[call-overload]  # no list
        return (shop["num-slaves"], shop["num-other-sentinels"]) == (1, 2)

    async def close(self) -> None:
        for one in (*self.sentinels, self.replica, self.primary):
            await one.close()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    made = Service(tmp_path)
    await made.start()
    yield made
    await made.close()


async def test_the_primary_is_found_and_used(service: Service) -> None:
    await check_redis(service.url)
    found = await locate(parse_address(service.url))
    assert (found.port, found.password, found.sentinels) == (service.primary.port, PASSWORD, None)


async def test_a_failover_is_followed(service: Service) -> None:
    tasks = Tasks()
    redis, operator = TickRedis(parse_address(service.url), Slots.in_memory(), tasks), connect(service.url)
    redis.start()
    assert await redis.wait_until_up(30)
    first = redis.server
    assert await redis.call(("SET", "x", 1)) == b"OK"
    assert await operator.get("x") == b"1"
    async with asyncio.timeout(60):
        while await service.replica.operator.get("x") != b"1":
            await asyncio.sleep(0.01)
    await service.primary.kill()
    await service.sentinels[0].kill()  # the others agree, and are asked
    async with asyncio.timeout(60):
        while not redis.up or redis.server == first:
            await asyncio.sleep(0.01)
    assert await redis.call(("GET", "x")) == b"1"
    assert await redis.call(("SET", "x", 2)) == b"OK"
    assert await operator.get("x") == b"2"
    assert (await locate(parse_address(service.url))).port == service.replica.port
    await operator.aclose()
    await redis.close()
    await tasks.close()


async def test_a_primary_that_was_replaced_and_lives_on_is_left(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its network was cut: it takes writes still, and will lose them."""
    monkeypatch.setattr(redis_tick, "PING_EVERY_S", 0.05)
    tasks = Tasks()
    redis = TickRedis(parse_address(service.url), Slots.in_memory(), tasks)
    redis.start()
    assert await redis.wait_until_up(30)
    monkeypatch.setattr(redis_tick, "locate", _located_at(service.replica))
    async with asyncio.timeout(60):
        while redis.up:
            await asyncio.sleep(0.01)
    await redis.close()
    await tasks.close()


def _located_at(server: Server) -> object:
    async def elsewhere(_: object) -> object:
        return parse_address(f"redis://:{PASSWORD}@{HOST}:{server.port}")

    return elsewhere


async def test_a_service_that_no_sentinel_knows(service: Service) -> None:
    url = service.url.replace("/shop", "/other")
    with pytest.raises(StoreUnavailable, match="no Sentinel knows"):
        await locate(parse_address(url))
    with pytest.raises(StartupError) as refused:
        await check_redis(url)
    assert "no Sentinel knows a primary of that service" in str(refused.value)
    assert PASSWORD not in str(refused.value)

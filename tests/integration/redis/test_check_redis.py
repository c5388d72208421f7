"""Is this Redis one we can use? One clear line when it is not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import StartupError
from gateway.storage import redis as storage_redis
from gateway.storage import redis_memory
from gateway.storage.redis import check_redis
from tests.integration.redis.conftest import OwnRedis, Worker


async def message_for(url: str) -> str:
    with pytest.raises(StartupError) as refused:
        await check_redis(url)
    text = str(refused.value)
    assert "\n" not in text
    assert "hunter2" not in text
    return text


async def test_a_good_one_passes(redis_url: str) -> None:
    await check_redis(redis_url)


async def test_a_wrong_password(own_redis: OwnRedis, worker: Worker) -> None:
    await worker.redis.call(("CONFIG", "SET", "requirepass", "right"))
    with_password = own_redis.url.replace("unix://", "unix://:hunter2@")
    assert "refused the log-in" in await message_for(with_password)
    assert "TOLLWAY_REDIS_URL" in await message_for(own_redis.url)
    await check_redis(own_redis.url.replace("unix://", "unix://:right@"))


async def test_one_that_hangs(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_redis, "CHECK_TIMEOUT_S", 0.2)
    own_redis.signal(signal.SIGSTOP)
    assert "no answer" in await message_for(own_redis.url)


async def test_one_that_is_too_old() -> None:
    async with fake_redis(b"redis_version:5.0.14\r\n") as url:
        assert "Redis 6.2 or newer is needed; the server at 127.0.0.1:" in await message_for(url)


async def test_a_replica(own_redis: OwnRedis, worker: Worker) -> None:
    await worker.redis.call(("REPLICAOF", "127.0.0.1", 1))
    assert "is a replica and takes no writes" in await message_for(own_redis.url)


async def test_one_that_drops_counters_when_its_memory_is_full(own_redis: OwnRedis, worker: Worker) -> None:
    for policy in ("allkeys-lru", "volatile-ttl"):
        await worker.redis.call(("CONFIG", "SET", "maxmemory-policy", policy))
        await worker.redis.call(("CONFIG", "SET", "maxmemory", "0"))
        await check_redis(own_redis.url)
        await worker.redis.call(("CONFIG", "SET", "maxmemory", "1gb"))
        assert f"maxmemory-policy {policy}" in await message_for(own_redis.url)
    await worker.redis.call(("CONFIG", "SET", "maxmemory-policy", "noeviction"))
    await check_redis(own_redis.url)


async def test_one_that_is_set_to_drop_them_later_is_told_of_once(
    own_redis: OwnRedis, worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tollway.redis")
    monkeypatch.setattr(redis_memory, "LOOK_EVERY_S", 0)
    memory = redis_memory.MemoryWatch(own_redis.url)
    watching = asyncio.ensure_future(memory.watch())
    for policy in ("allkeys-lru", "noeviction"):
        await worker.redis.call(("CONFIG", "SET", "maxmemory", "1gb"))
        await worker.redis.call(("CONFIG", "SET", "maxmemory-policy", policy))
        async with asyncio.timeout(20):
            while (memory.policy or "noeviction") != policy:
                await asyncio.sleep(0)
    watching.cancel()
    told = [record.getMessage() for record in caplog.records if "keys" in record.getMessage()]
    assert [text[:17] for text in told] == ["Redis drops keys ", "Redis keeps all k"]


async def test_a_node_of_a_cluster() -> None:
    async with fake_redis(b"redis_version:7.0.0\r\nredis_mode:cluster\r\n") as url:
        assert "is a node of a cluster" in await message_for(url)


async def test_something_that_is_no_redis() -> None:
    async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        assert f"127.0.0.1:{port}" in await message_for(f"redis://:hunter2@127.0.0.1:{port}")
    finally:
        server.close()


@asynccontextmanager
async def fake_redis(information: bytes) -> AsyncIterator[str]:
    """Says yes to everything, and `information` about itself."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = [
                (await reader.readexactly(int((await reader.readline())[1:]) + 2))[:-2]
                for _ in range(int(line[1:]))
            ]
            if words[0] == b"HELLO":
                writer.write(b"-ERR unknown command\r\n")
            elif words[0] == b"INFO":
                writer.write(b"$%d\r\n%s\r\n" % (len(information), information))
            else:
                writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()

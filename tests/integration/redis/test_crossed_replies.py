"""Callers leave, connections break in the middle of a byte stream: nobody ever gets another call's answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.storage import redis_tick
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.conftest import OwnRedis

CALLS = 100_000
WAVE = 500


class FaultyWire:
    """Passes bytes on in pieces of any size, down to one; breaks connections at any byte, either way."""

    def __init__(self, upstream: str, seed: int) -> None:
        self.upstream = upstream
        self.chance = random.Random(seed)
        self.breaks = 0
        self.carrying: set[asyncio.Task[Any]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side or the wire breaks it off."""
        here = asyncio.current_task()
        assert here is not None
        self.carrying.add(here)
        try:
            await self._carry(reader, writer)
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
            self.carrying.discard(here)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_unix_connection(self.upstream)
        left = self.chance.randrange(5_000, 400_000)  # bytes until it breaks
        both = (
            self._pass(reader, redis_writer, left),
            self._pass(redis_reader, writer, self.chance.randrange(5_000, 400_000)),
        )
        tasks = [asyncio.ensure_future(one) for one in both]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        redis_writer.transport.abort()
        with suppress(OSError):
            await redis_writer.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        chance = self.chance
        while data := await reader.read(chance.choice((1, 3, 50, 4096, 65536))):
            if len(data) >= left:
                self.breaks += 1
                writer.write(data[:left])
                await asyncio.sleep(0)  # so that what came before the break may arrive
                return
            left -= len(data)
            writer.write(data)


@pytest.mark.parametrize("seed", [3])
async def test_of_a_hundred_thousand_calls_each_gets_its_own_answer_or_none(
    own_redis: OwnRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(redis_tick, "SHORTEST_DELAY_S", 0.0005)
    monkeypatch.setattr(redis_tick, "LONGEST_DELAY_S", 0.001)
    wire, chance, seen = (
        FaultyWire(str(own_redis.server.socket_path), seed),
        random.Random(seed),
        Counter[str](),
    )
    server = await asyncio.start_unix_server(wire.carry, tmp_path / "wire")
    tasks = Tasks()
    redis = TickRedis(parse_address(f"unix://{tmp_path / 'wire'}"), Slots.in_memory(), tasks)
    sha = redis.script("return {KEYS[1], ARGV[1]}")
    redis.start()

    async def caller(number: int) -> None:
        try:
            if number % 2:
                answer = await redis.evalsha(sha, (f"k{number}",), (number,))
                expected: object = [b"k%d" % number, b"%d" % number]
            else:
                answer = await redis.call(("ECHO", number))
                expected = b"%d" % number
        except StoreUnavailable:
            seen["lost"] += 1
        else:
            seen["own" if answer == expected else "another's"] += 1

    loop = asyncio.get_running_loop()
    for first in range(0, CALLS, WAVE):
        assert await redis.wait_until_up(30)
        calls = []
        for number in range(first, first + WAVE):
            calls.append(loop.create_task(caller(number)))
            if chance.random() < 0.2:
                chance.choice(calls).cancel()
            if chance.random() < 0.05:
                await asyncio.sleep(0)
        await asyncio.gather(*calls, return_exceptions=True)
    await redis.close()
    await tasks.close()
    server.close()
    if wire.carrying:
        await asyncio.wait(wire.carrying, timeout=30)
    assert seen["another's"] == 0
    assert wire.breaks > 20
    assert seen["own"] > CALLS // 4
    assert seen["lost"] > 0

"""Workers say in Redis which journals they write: who compares counters with the ledger must know all."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.storage.tick_client import TickClient

JOURNALS = "tw:journals"
"""A sorted set: names of journals by when their worker was last there, in ms."""
FORGOTTEN_AFTER_MS = 64 * 86_400_000
"""Longer than the present month and the one before together."""
EVERY_S = 60.0
RETRY_S = 1.0


async def announce_forever(redis: TickClient, clock: Clock, journal: str) -> None:
    """Say it now, and again every minute: Redis may lose what it was told."""
    while True:
        delay_s = RETRY_S
        with suppress(StoreUnavailable):
            await redis.call(("ZADD", JOURNALS, clock.now_us() // 1000, journal))
            delay_s = EVERY_S
        await asyncio.sleep(delay_s)

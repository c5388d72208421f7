"""A worker announces its journal until Redis has heard it, and then every minute."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.admission import presence
from gateway.admission.presence import JOURNALS, announce_forever
from gateway.clock import ManualClock
from gateway.errors import StoreUnavailable
from gateway.storage.redis_tick import TickRedis


class Deaf:
    """A Redis that answers from the third call on."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.heard = asyncio.Event()

    async def call(self, args: tuple[Any, ...]) -> None:
        self.calls.append(args)
        if len(self.calls) < 3:
            raise StoreUnavailable("not connected", unsent=True)
        self.heard.set()


async def test_a_journal_is_announced_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "RETRY_S", 0.0)
    redis, clock = Deaf(), ManualClock(now_us=5_000_000)
    announcing = asyncio.ensure_future(announce_forever(cast("TickRedis", redis), clock, "0192f1a2"))
    await redis.heard.wait()
    announcing.cancel()
    assert redis.calls == [("ZADD", JOURNALS, 5_000, "0192f1a2")] * 3

"""What the store of production makes of an answer that is none yet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, cast

import pytest

from gateway.admission.charges import Charges
from gateway.admission.redis_store import RedisStore
from gateway.admission.store import EXACT, Status
from gateway.clock import ManualClock
from gateway.errors import StoreUnavailable
from gateway.inline import Wait
from gateway.storage.tick_client import TickClient
from tests.unit.admission.plans import limit, plan

OURS_MS, REDIS_MS = 1_784_000_000_000, 1_784_000_009_000


class Client:
    """Answers in turn, and notes the deadlines of the script calls."""

    timeout_s = 0.1

    def __init__(self, *answers: tuple[int, ...]) -> None:
        self._answers: Iterator[tuple[int, ...]] = iter(answers)
        self.deadlines: list[object] = []

    def script(self, source: str) -> str:
        return source

    def evalsha(self, sha: str, keys: tuple[str, ...], args: tuple[object, ...]) -> Wait[Any]:
        self.deadlines.append(struct.unpack_from("<d", cast("bytes", args[1]))[0])
        wait: Wait[Any] = Wait()
        numbers = next(self._answers)
        wait.set(struct.pack(f"<{len(numbers)}q", *numbers))
        return wait

    def flush(self) -> None:
        """At once."""


async def test_when_ours_came_too_late_because_redis_s_clock_was_not_known_it_is_asked_again() -> None:
    client = Client((REDIS_MS,), (REDIS_MS + 1, 1, 0, 1, 19, 0))
    store = RedisStore(cast("TickClient", client), ManualClock(OURS_MS * 1000))
    decision = await store.decide("7l", Charges(plan(limit()), OURS_MS), EXACT)
    assert decision.status is Status.ADMITTED
    assert client.deadlines == [OURS_MS + 100, REDIS_MS + 100]


async def test_but_only_once() -> None:
    client = Client((REDIS_MS,), (REDIS_MS + 5000,))
    store = RedisStore(cast("TickClient", client), ManualClock(OURS_MS * 1000))
    with pytest.raises(StoreUnavailable, match="too late"):
        await store.decide("7l", Charges(plan(limit()), OURS_MS), EXACT)

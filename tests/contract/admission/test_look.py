"""Looking decides as admitting does, and leaves everything as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.admission.charges import Charges
from gateway.admission.redis_store import Held, RedisStore
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import EXACT, Ask, Decision, Status
from gateway.clock import ManualClock, SystemClock
from gateway.model.policies import ChargePlan
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.plans import at_once, limit, plan, quota

TAG = "7l"
ALL = plan(limit(60, burst=2), limit(60, burst=1, name="tried", shadow=True), quota(3), at_once(2))


class Both:
    """One who calls and one who looks, at the same counters."""

    def __init__(self, redis: TickRedis, clock: ManualClock) -> None:
        self.redis, self.clock = redis, clock
        self.caller = RedisStore(redis, SystemClock(), time_from=clock)
        self.looker = RedisStore(redis, SystemClock(), time_from=clock, looks_only=True)
        self._slots = 0

    def charges(self, charges: ChargePlan) -> Charges:
        return Charges(charges, self.caller.now_ms())

    async def call(self, charges: ChargePlan, ask: Ask = EXACT) -> Decision:
        self._slots += 1
        if charges.concurrency:
            ask = ask._replace(slot=f"slot-{self._slots}")
        return await self.caller.decide(TAG, self.charges(charges), ask)

    async def look(self, charges: ChargePlan) -> Decision:
        ask = Ask(slot="look") if charges.concurrency else EXACT
        return await self.looker.decide(TAG, self.charges(charges), ask)

    async def everything(self) -> dict[bytes, object]:
        """All that Redis holds."""
        held: dict[bytes, object] = {}
        for key in await self.redis.call(("KEYS", "*")):
            kind = await self.redis.call(("TYPE", key))
            read = {"hash": ("HGETALL", key), "zset": ("ZRANGE", key, 0, -1, "WITHSCORES")}
            text = kind.decode() if isinstance(kind, bytes) else str(kind)
            held[key] = await self.redis.call(read.get(text, ("GET", key)))
        return held


@pytest.fixture
async def both(redis_url: str, clock: ManualClock) -> AsyncIterator[Both]:
    tasks = Tasks()
    client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    made = Both(client, clock)
    client.start()
    assert await client.wait_until_up()
    yield made
    await client.close()
    await tasks.close()


async def test_whoever_looks_sees_what_the_next_call_gets_and_changes_nothing(both: Both) -> None:
    statuses = []
    for _ in range(4):
        before = await both.everything()
        seen = await both.look(ALL)
        assert await both.everything() == before
        got = await both.call(ALL)
        assert seen == got
        statuses.append(got.status)
    assert statuses == [Status.ADMITTED] * 2 + [Status.REFUSED] * 2


async def test_slots_that_ended_are_not_counted_and_not_taken_away(both: Both) -> None:
    charges = plan(at_once(1))
    await both.call(charges)
    assert (await both.look(charges)).status is Status.REFUSED
    both.clock.advance(SLOT_MS / 1000)
    before = await both.everything()
    assert (await both.look(charges)).status is Status.ADMITTED
    assert await both.everything() == before


async def test_fields_that_are_no_holds_are_nobody_s(both: Both) -> None:
    """As whoever charges takes them. Another release may have written them."""
    charges = plan(limit(6000, burst=1600))
    await both.call(charges, Ask("worker", wanted=50))
    for field, text in (
        ("h:a", "some"),
        ("h:b", "7:8:9"),
        ("h:c", ""),
        ("h:d", "-5:1e99"),
        ("x", "7:8"),
        ("state", ""),
    ):
        await both.redis.call(("HSET", f"tw:{{{TAG}}}:b:burst", field, text))
    assert await both.looker.held(TAG, both.charges(charges)) == (Held(50, 1),)
    before = await both.everything()
    assert (await both.look(charges)).left == (1549,)
    assert await both.everything() == before


async def test_what_workers_hold_in_advance_is_told(both: Both) -> None:
    charges = plan(limit(6000, burst=1600))
    assert await both.looker.held(TAG, both.charges(charges)) == (Held(0, 0),)
    await both.call(charges, Ask("worker", wanted=50))
    assert await both.looker.held(TAG, both.charges(charges)) == (Held(50, 1),)
    both.clock.advance(1)
    assert await both.looker.held(TAG, both.charges(charges)) == (Held(0, 0),)

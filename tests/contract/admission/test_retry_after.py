"""`Retry-After` is never too early: who comes back then passes, if nobody else calls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.admission.decider import Decider
from gateway.admission.fields import refused_lines
from gateway.admission.memory_store import MemoryStore
from gateway.admission.redis_store import RedisStore
from gateway.admission.refusal import refusal
from gateway.admission.store import EXACT, Ask, Status
from gateway.clock import ManualClock, SystemClock
from gateway.model.periods import Period, parse_period
from gateway.model.policies import ChargePlan
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.plans import limit, plan, quota

_accounts = itertools.count(500_000)

_limits = st.builds(
    lambda tokens, burst, period_ms, name: limit(tokens, burst=burst, period_ms=period_ms, name=name),
    st.integers(1, 5000),
    st.integers(1, 60),
    st.sampled_from([1000, 60_000, 3_600_000, 86_400_000]),
    st.sampled_from(["a", "b"]),
)
_quotas = st.builds(
    lambda amount, per, soft: quota(amount, per=per, soft=soft),
    st.integers(1, 40),
    st.sampled_from([Period.HOUR, Period.DAY, Period.MONTH, parse_period("2 weeks")]),
    st.booleans(),
)
_plans = st.builds(
    lambda limits, quotas, cost: plan(*limits, *((one, min(cost, one.amount)) for one in quotas), cost=cost),
    st.lists(_limits, min_size=1, max_size=2, unique_by=lambda one: one.name),
    st.lists(_quotas, max_size=1),
    st.integers(1, 30),
)
_events = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), st.integers(1, 70)),
        st.tuples(st.just("buys"), st.integers(1, 64)),
        st.tuples(st.just("settles"), st.integers(-50, 20)),
        st.tuples(st.just("waits"), st.sampled_from([1, 7, 250, 749, 1001, 60_000])),
    ),
    max_size=15,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture
def redis(runner: asyncio.Runner, redis_url: str) -> Iterator[TickRedis]:
    tasks = Tasks()

    async def connect() -> TickRedis:
        client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
        RedisStore(client, SystemClock())  # its scripts are known before it connects
        client.start()
        assert await client.wait_until_up()
        return client

    async def leave() -> None:
        await client.close()
        await tasks.close()

    client = runner.run(connect())
    yield client
    runner.run(leave())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(charged=_plans, events=_events, start_ms=st.integers(0, 90_000_000))
@example(charged=plan(limit(1, burst=60), quota(40)), events=[("buys", 64), ("calls", 60)], start_ms=1)
@example(charged=plan(limit(3, burst=7, period_ms=1000), cost=7), events=[("settles", -50)], start_ms=333)
def test_whoever_comes_back_then_passes(
    runner: asyncio.Runner,
    redis: TickRedis,
    charged: ChargePlan,
    events: list[tuple[str, int]],
    start_ms: int,
) -> None:
    clock = ManualClock((1_784_000_000_000 + start_ms) * 1000)
    for store in (MemoryStore(clock), RedisStore(redis, SystemClock(), time_from=clock)):
        clock.advance((1_784_000_000_000 + start_ms) / 1000 - clock.now_us() / 1_000_000)
        runner.run(_play(Decider(store), store, clock, charged, events))


async def _play(
    decider: Decider,
    store: MemoryStore | RedisStore,
    clock: ManualClock,
    charged: ChargePlan,
    events: list[tuple[str, int]],
) -> None:
    tag = f"{next(_accounts)}l"
    for kind, value in events:
        if kind == "calls":
            await decider.decide(tag, charged, Ask(calls=value))
        elif kind == "buys":
            await decider.decide(tag, charged, Ask("w", 0, value, 0, scarce=True))
        elif kind == "settles":
            charges, _ = await decider.decide(tag, charged, Ask(calls=0))
            tokens = dict.fromkeys(zip(charges.keys, charges.flows, strict=False), value)
            await store.refund(tag, {}, tokens)
        else:
            clock.advance(value / 1000)
    charges, decision = await decider.decide(tag, charged, EXACT)
    if decision.status is Status.ADMITTED:
        return
    error = refusal(charged, charges, decision)
    told = int(error.headers.rpartition(b"Retry-After: ")[2])
    assert told >= max(int(part.split(b";t=")[1]) for part in _tightest(refused_lines(charges, decision)))
    clock.advance(told)
    _, retried = await decider.decide(tag, charged, EXACT)
    assert retried.status is Status.ADMITTED, (told, decision)


def _tightest(lines: bytes) -> list[bytes]:
    """Items of the RateLimit field that refuse: none of theirs ends later than a caller is told to wait."""
    field = lines.rpartition(b"RateLimit: ")[2].strip()
    return [item for item in field.split(b",") if b";r=0;" in item][:1]

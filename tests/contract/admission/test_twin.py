"""The scripts and their Python twin, side by side through random histories; and what both must never do."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.admission.charges import Charges
from gateway.admission.crossings import EVENTS
from gateway.admission.memory_store import MemoryStore
from gateway.admission.redis_store import RedisStore
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import EXACT, Ask, Status, Store
from gateway.admission.token_bucket import LEASE_MS
from gateway.clock import ManualClock, SystemClock
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan
from gateway.policy.values import LARGEST
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.admission.plans import at_once, limit, plan, quota

_accounts = itertools.count(1)
PLANS = [
    plan(limit(600, burst=64, period_ms=1000)),
    plan(limit(7, burst=40, period_ms=1000), quota(5000)),
    plan(
        limit(100, burst=200, period_ms=1000), limit(60, burst=100, name="slow"), quota(4200, per=Period.HOUR)
    ),
    plan(quota(4100), (quota(30_000, meter="tokens"), 7)),
    plan(limit(60, burst=200), limit(9, burst=70, period_ms=1000, name="all", scope=("ip",)), cost=3),
    plan(limit(60, burst=200), limit(7, burst=40, period_ms=1000, name="tried", shadow=True)),
    plan(
        limit(60, burst=400), (quota(40, soft=True, notify=(10, 50, 100, 200)), 2), quota(90, meter="tokens")
    ),
    plan(limit(60, burst=160), (quota(60, shadow=True), 2), limit(9, burst=9, name="tried", shadow=True)),
    plan(limit(600, burst=300, meter="tokens"), (quota(5000, meter="tokens"), 7), metered={"tokens": 7}),
    # The largest there are, and a rate that shares no factor with its period.
    plan(
        limit(10**9, burst=10**9, period_ms=86_400_000, name="most"),
        limit(999_999_937, burst=10**9, period_ms=86_400_000, name="prime"),
        (quota(LARGEST, meter="api_calls"), 10**12),
        (quota(10**12, meter="tokens", soft=True), 10**12),
        cost=10**7 + 1,
    ),
]
HOLDERS = ["", "a", "b", "c"]

_calls = st.tuples(
    st.just("call"),
    st.sampled_from(HOLDERS),
    st.sampled_from([0, 1, 1, 2, 7, 40]),
    st.sampled_from([1, 3, 64, -3, -64]),
)
_spends = st.tuples(st.just("spend"), st.sampled_from(HOLDERS[1:]), st.integers(1, 40), st.just(0))
_returns = st.tuples(st.just("give back"), st.sampled_from(HOLDERS[1:]), st.just(0), st.just(0))
_refunds = st.tuples(st.just("refund"), st.just(""), st.integers(1, 20), st.just(0))
_settles = st.tuples(st.just("settle"), st.just(""), st.sampled_from([-900, -30, -1, 2, 40]), st.just(0))
_rushes = st.tuples(st.just("rush"), st.just(""), st.sampled_from([5, 30, 64]), st.just(0))
_waits = st.tuples(st.just("wait"), st.just(""), st.sampled_from([1, 9, 50, 240, 500, 751, 4000]), st.just(0))
_steps_back = st.tuples(st.just("wait"), st.just(""), st.sampled_from([-3, -400, -90_000]), st.just(0))
Event = tuple[str, str, int, int]


@dataclass
class Held:
    """What a worker with a lease knows."""

    calls: int = 0
    expires_ms: int = 0


@dataclass
class World:
    """Both stores on one clock, and the workers that hold leases."""

    redis: TickRedis
    clock: ManualClock = field(default_factory=lambda: ManualClock(1_784_000_000_000_000))
    held: dict[str, Held] = field(default_factory=lambda: {name: Held() for name in HOLDERS[1:]})
    admitted_at_ms: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stores: list[Store] = [
            MemoryStore(self.clock),
            RedisStore(self.redis, SystemClock(), time_from=self.clock),
        ]
        self.tag = f"{next(_accounts)}l"

    @property
    def now_ms(self) -> int:
        return self.clock.now_us() // 1000

    async def play(self, charges: Charges, events: list[Event]) -> None:
        for kind, holder, first, second in events:
            if kind == "call":
                wanted = abs(second) if holder else 0
                await self._call(charges, Ask(holder, first, wanted, self._usable(holder), scarce=second < 0))
            elif kind == "rush":
                for _ in range(first):
                    await self._call(charges, EXACT)
            elif kind == "spend":
                self._spend(holder, first)
            elif kind == "give back":
                await self._give_back(charges, holder)
            elif kind == "refund":
                for store in self.stores:
                    await store.refund(self.tag, {charge.key: first for charge in charges.quotas})
            elif kind == "settle":
                await self._settle(charges, first)
            else:
                self.clock.advance(first / 1000)

    async def _settle(self, charges: Charges, given: int) -> None:
        units = {charge.key: given for charge in charges.quotas}
        tokens = dict.fromkeys(zip(charges.keys, charges.flows, strict=False), given)
        for store in self.stores:
            await store.refund(self.tag, units, tokens)

    def _usable(self, holder: str) -> int:
        held = self.held.get(holder)
        return held.calls if held is not None and self.now_ms < held.expires_ms else 0

    async def _call(self, charges: Charges, ask: Ask) -> None:
        first, second = [await store.decide(self.tag, charges, ask) for store in self.stores]
        assert first == second, ask
        if first.status is not Status.ADMITTED:
            return
        self.admitted_at_ms += [self.now_ms] * first.calls
        if ask.holder:
            self.held[ask.holder] = Held(ask.held + first.extra, self.now_ms + LEASE_MS)

    def _spend(self, holder: str, wanted: int) -> None:
        spent = min(wanted, self._usable(holder))
        self.held[holder].calls -= spent
        self.admitted_at_ms += [self.now_ms] * spent

    def told_by_memory(self) -> dict[str, str]:
        """Thresholds that were told, as the script writes them."""
        memory = self.stores[0]
        assert isinstance(memory, MemoryStore)
        return {"|".join(map(str, one)): "|".join(map(str, told)) for one, told in memory.reached.items()}

    async def told_by_redis(self) -> dict[str, str]:
        flat = [text.decode() for text in await self.redis.call(("HGETALL", EVENTS))]
        ours = f"tw:{{{self.tag}}}:"
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {field: value for field, value in pairs if field.startswith(ours)}

    async def _give_back(self, charges: Charges, holder: str) -> None:
        held = self.held[holder]
        for store in self.stores:
            await store.give_back(self.tag, charges, holder, held.calls)
        held.calls = 0


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture
def redis(runner: asyncio.Runner, redis_url: str) -> Iterator[TickRedis]:
    tasks = Tasks()

    async def connect() -> TickRedis:
        client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
        client.start()
        assert await client.wait_until_up()
        return client

    async def leave(client: TickRedis) -> None:
        await client.close()
        await tasks.close()

    client = runner.run(connect())
    yield client
    runner.run(leave(client))


SLOTS = at_once(3)
PLANS_WITH_SLOTS = [
    plan(SLOTS),
    plan(limit(600, burst=8, period_ms=1000), quota(12), SLOTS, at_once(2, name="few")),
]
_names = st.integers(0, 5)
_begins = st.tuples(st.just("begin"), _names)
_ends = st.tuples(st.just("end"), _names)
_renews = st.tuples(st.just("renew"), _names)
_crashes = st.tuples(st.just("crash"), _names)
_pass = st.tuples(st.just("wait"), st.sampled_from([1, 900, 3000, SLOT_MS - 1, SLOT_MS, SLOT_MS + 1]))
_set_back = st.tuples(st.just("wait"), st.sampled_from([-5, -SLOT_MS, -90_000]))


@dataclass
class Calls:
    """Calls that hold slots, in the eyes of their workers, on both stores."""

    world: World
    charges: Charges
    numbers: Iterator[int] = field(default_factory=itertools.count)
    under_way: dict[int, str] = field(default_factory=dict)  # by who makes them; names are never used again
    kept_at_ms: dict[int, int] = field(default_factory=dict)

    async def play(self, events: list[tuple[str, int]]) -> None:
        for kind, value in events:
            if kind == "wait":
                self.world.clock.advance(value / 1000)
                await self._renew([one for one in self.under_way if self._is_due(one)])
            elif kind == "begin" and value not in self.under_way:
                await self._begin(value)
            elif kind == "end" and value in self.under_way:
                await self._keep("release", [value])
                del self.under_way[value]
            elif kind == "renew" and value in self.under_way:
                await self._renew([value])
            elif kind == "crash":
                self.under_way.pop(value, None)

    def _is_due(self, one: int) -> bool:
        return self.kept_at_ms[one] + 3000 <= self.world.now_ms < self.kept_at_ms[one] + SLOT_MS

    async def _begin(self, one: int) -> None:
        name = f"w.{next(self.numbers)}"
        ask = Ask(slot=name)
        first, second = [await store.decide(self.world.tag, self.charges, ask) for store in self.world.stores]
        assert first == second, ask
        if first.status is Status.ADMITTED:
            self.under_way[one] = name
            self.kept_at_ms[one] = self.world.now_ms

    async def _renew(self, those: list[int]) -> None:
        if those:
            await self._keep("renew", those)
            self.kept_at_ms.update(dict.fromkeys(those, self.world.now_ms))

    async def _keep(self, what: str, those: list[int]) -> None:
        names = [self.under_way[one] for one in those]
        for store in self.world.stores:
            await getattr(store, what)(self.world.tag, dict.fromkeys(self.charges.slot_keys, names))

    async def in_use(self) -> list[tuple[int, ...]]:
        look = Ask(calls=0)
        return [
            (await store.decide(self.world.tag, self.charges, look)).in_use for store in self.world.stores
        ]


_given = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@settings(_given, max_examples=400)
@given(
    which=st.sampled_from(range(len(PLANS))),
    events=st.lists(
        st.one_of(_calls, _calls, _spends, _returns, _refunds, _settles, _waits, _steps_back),
        min_size=5,
        max_size=50,
    ),
)
def test_the_script_and_its_twin_agree(
    runner: asyncio.Runner, redis: TickRedis, which: int, events: list[Event]
) -> None:
    world = World(redis)
    charges = Charges(PLANS[which], world.now_ms)
    buckets = [key if key != "b:all" else f"{{ip={world.tag}}}:{key}" for key in charges.keys]
    buckets = buckets[: len(charges.limits)]
    runner.run(world.play(charges.paid_into((*buckets, *charges.slot_keys)), events))
    assert runner.run(world.told_by_redis()) == world.told_by_memory()


@st.composite
def _plans(draw: st.DrawFn) -> ChargePlan:
    """Whatever figures a tier may have; another one of the same account has others under the same names."""
    limits = [
        limit(
            draw(st.integers(1, 2000)),
            burst=draw(st.integers(1, 400)),
            period_ms=draw(st.sampled_from([1000, 60_000, 3_600_000, 86_400_000])),
            name=name,
            shadow=draw(st.booleans()),
        )
        for name in draw(st.sets(st.sampled_from(["burst", "slow"])))
    ]
    quotas = [
        (
            quota(
                draw(st.one_of(st.integers(1, 60), st.integers(4000, 40_000))),
                meter=meter,
                shadow=draw(st.booleans()),
                soft=draw(st.booleans()),
                notify=tuple(sorted(draw(st.sets(st.integers(1, 300), max_size=3)))),
            ),
            draw(st.integers(1, 50)),
        )
        for meter in draw(st.sets(st.sampled_from(["api_calls", "tokens"]), min_size=0 if limits else 1))
    ]
    return plan(*limits, *quotas, cost=draw(st.integers(1, 500)))


@settings(_given, max_examples=300)
@given(
    tiers=st.lists(_plans(), min_size=1, max_size=2),
    events=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.one_of(_calls, _calls, _calls, _spends, _returns, _refunds, _settles, _waits, _steps_back),
        ),
        min_size=5,
        max_size=40,
    ),
)
def test_they_agree_whatever_the_figures_and_when_the_tier_changes(
    runner: asyncio.Runner, redis: TickRedis, tiers: list[ChargePlan], events: list[tuple[int, Event]]
) -> None:
    world = World(redis)
    charges = [Charges(one, world.now_ms) for one in tiers]

    async def play() -> None:
        for which, event in events:
            await world.play(charges[which % len(charges)], [event])

    runner.run(play())
    assert runner.run(world.told_by_redis()) == world.told_by_memory()


@_given
@given(
    which=st.sampled_from(PLANS_WITH_SLOTS),
    events=st.lists(st.one_of(_begins, _begins, _ends, _renews, _crashes, _pass, _set_back), max_size=40),
)
def test_slots_of_the_script_and_its_twin_agree(
    runner: asyncio.Runner, redis: TickRedis, which: ChargePlan, events: list[tuple[str, int]]
) -> None:
    world = World(redis)
    calls = Calls(world, Charges(which, world.now_ms))

    async def play() -> None:
        await calls.play(events)
        first, second = await calls.in_use()
        assert first == second

    runner.run(play())


@_given
@given(events=st.lists(st.one_of(_begins, _begins, _begins, _ends, _crashes, _pass), max_size=40))
def test_never_more_calls_than_slots_and_all_come_back(
    runner: asyncio.Runner, redis: TickRedis, events: list[tuple[str, int]]
) -> None:
    world = World(redis)
    calls = Calls(world, Charges(plan(SLOTS), world.now_ms))

    async def play() -> None:
        for event in events:
            await calls.play([event])
            alive = [one for one in calls.under_way if world.now_ms < calls.kept_at_ms[one] + SLOT_MS]
            assert len(alive) <= SLOTS.most
            assert await calls.in_use() >= [(len(alive),)] * 2
        world.clock.advance(SLOT_MS / 1000)
        assert await calls.in_use() == [(0,), (0,)]

    runner.run(play())


_leased = st.sampled_from(HOLDERS[1:3])
_buys = st.tuples(st.just("call"), _leased, st.just(0), st.just(64))
_spends_all = st.tuples(st.just("spend"), _leased, st.just(64), st.just(0))
_drains = st.just(("rush", "", 160, 0))
_pauses = st.tuples(st.just("wait"), st.just(""), st.sampled_from([9, 240, 270, 499, 751]), st.just(0))
_tight = st.lists(st.one_of(_buys, _spends_all, _drains, _pauses, _returns), min_size=4, max_size=24)


BOUGHT: Event = ("call", "a", 0, 64)
SPENT: Event = ("spend", "a", 64, 0)
DRAINED: Event = ("rush", "", 160, 0)


@settings(_given, max_examples=150)
@given(events=_tight)
@example(events=[BOUGHT, ("wait", "", 499, 0), SPENT, DRAINED])  # the room of a hold must not fill up
@example(events=[BOUGHT, ("wait", "", 499, 0), SPENT, ("wait", "", 270, 0), DRAINED])  # nor at its end
@example(
    events=[BOUGHT, ("wait", "", 751, 0), DRAINED, ("give back", "a", 0, 0), DRAINED]
)  # what expired is gone
def test_no_interval_sees_more_than_burst_and_rate(
    runner: asyncio.Runner, redis: TickRedis, events: list[Event]
) -> None:
    world, per_ms, burst = World(redis), 0.014, 160
    slow = plan(limit(14, burst=burst, period_ms=1000))
    runner.run(world.play(Charges(slow, world.now_ms), events))
    times = world.admitted_at_ms
    for first, last in itertools.combinations(range(len(times)), 2):
        allowed = burst + per_ms * (times[last] - times[first])
        assert last - first + 1 <= allowed + 1e-6


@_given
@given(events=st.lists(st.one_of(_calls, _calls, _spends, _spends, _returns, _waits), max_size=60))
def test_no_period_sees_more_than_its_quota(
    runner: asyncio.Runner, redis: TickRedis, events: list[Event]
) -> None:
    world = World(redis)
    charges = Charges(plan(quota(4100)), world.now_ms)
    rush: list[Event] = [("call", "", 1, 0)] * 10
    runner.run(world.play(charges, [*events, *rush]))
    assert len(world.admitted_at_ms) + sum(held.calls for held in world.held.values()) <= 4100

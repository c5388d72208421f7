"""Calls that pay into several slots of a cluster, beside the Python twin that decides in one place: through
random histories, with callers at the same time, and with nodes that are lost between two parts of a call.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.admission.charges import Charges
from gateway.admission.cluster_store import ClusterStore
from gateway.admission.cluster_trust import ClusterTrust
from gateway.admission.memory_store import MemoryStore
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import Ask, Decision, Status, Store
from gateway.admission.token_bucket import Flow
from gateway.clock import ManualClock, SystemClock
from gateway.errors import StoreUnavailable
from gateway.inline import Wait, drive
from gateway.model.policies import ChargePlan, ConcurrencyLimit, Limit
from gateway.storage.hash_slots import slot_of
from gateway.storage.redis import parse_address
from gateway.storage.tick_cluster import TickCluster
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.clusters import Cluster
from tests.unit.admission.plans import at_once, limit, plan, quota

_numbers = itertools.count(1000)

BY_ADDRESS = limit(60, burst=3, period_ms=1000, name="address", scope=("ip",))
BY_ROUTE = limit(9, burst=6, period_ms=1000, name="route", scope=("route",))
PLANS = [
    plan(limit(60, burst=5), BY_ADDRESS, quota(9)),
    plan(BY_ADDRESS, BY_ROUTE, limit(7, burst=4, name="tried", scope=("header:x",), shadow=True)),
    plan(
        limit(6, burst=4),
        BY_ROUTE,
        (quota(8, soft=True, notify=(50, 100, 200)), 2),
        at_once(3),
        at_once(2, name="room", scope=("route",)),
    ),
    plan(BY_ROUTE, quota(7), at_once(2, name="each", scope=("ip",)), at_once(1, name="seen", shadow=True)),
    plan(limit(90, burst=9), BY_ADDRESS, BY_ROUTE, cost=2),
]


class Faults(TickCluster):
    """A cluster of which some script calls fail: they do not arrive, or their answer does not."""

    plan: Iterator[str] = iter(())

    def evalsha(self, sha: str, keys: tuple[str, ...], args: tuple[bytes | str | int, ...]) -> Wait[Any]:
        fault = next(self.plan, "")
        wait: Wait[Any] = Wait()
        if fault == "unsent":
            wait.fail(StoreUnavailable("made up", unsent=True))
            return wait
        answer = super().evalsha(sha, keys, args)
        if fault != "unheard":
            return answer

        def ended(error: BaseException | None) -> None:
            wait.fail(error or StoreUnavailable("made up"))

        drive(_until(answer), ended)
        return wait


async def _until(answer: Wait[Any]) -> None:
    await answer


@dataclass
class World:
    """A cluster and its twin on one clock, two accounts, and what they share."""

    cluster: Cluster
    client: Faults
    clock: ManualClock = field(default_factory=lambda: ManualClock(1_784_000_000_000_000))
    slots: dict[int, tuple[str, str]] = field(default_factory=dict)  # by who makes the call

    def __post_init__(self) -> None:
        self.tags = [f"{next(_numbers)}l" for _ in range(2)]
        self.memory = MemoryStore(self.clock)
        self.trust = ClusterTrust(self.client, Slots.in_memory())
        self.store = ClusterStore(self.client, SystemClock(), self.trust, time_from=self.clock)
        self.stores: list[Store] = [self.memory, self.store]
        for tag in self.tags:
            self.cluster.vouch_for(tag)

    def charges(self, which: ChargePlan) -> Charges:
        """Of a call whose address, route and header are those of this world."""
        keys = [self._key("b", one) for one in which.limits] + [
            self._key("c", one) for one in which.concurrency
        ]
        return Charges(which, self.clock.now_us() // 1000).paid_into(tuple(keys))

    def _key(self, kind: str, one: Limit | ConcurrencyLimit) -> str:
        name = f"{kind}:{one.name}"
        return f"{{{one.scope[0]}={self.tags[0]},l}}:{name}" if one.shared else name

    async def both(self, tag: str, charges: Charges, ask: Ask) -> Decision:
        first, second = [await store.decide(tag, charges, ask) for store in self.stores]
        assert first == second, ask
        return first

    async def play(self, charges: Charges, events: list[tuple[str, int, int]]) -> None:
        for kind, who, value in events:
            tag = self.tags[who % 2]
            if kind == "call":
                await self._begin(tag, charges, who, value)
            elif kind == "settle":
                await self._settle(tag, charges, value)
            elif kind == "wait":
                self.clock.advance(value / 1000)
            elif who in self.slots:
                await self._keep(kind, charges, who)

    async def _begin(self, tag: str, charges: Charges, who: int, calls: int) -> None:
        name = f"w.{next(_numbers)}" if charges.slot_keys and calls == 1 and who not in self.slots else ""
        decision = await self.both(tag, charges, Ask(calls=calls, slot=name))
        if decision.status is Status.ADMITTED and name:
            self.slots[who] = (tag, name)

    async def _keep(self, kind: str, charges: Charges, who: int) -> None:
        tag, name = self.slots[who] if kind == "renew" else self.slots.pop(who)
        if kind == "crash":
            return
        for store in self.stores:
            await getattr(store, kind)(tag, dict.fromkeys(charges.slot_keys, (name,)))

    async def _settle(self, tag: str, charges: Charges, given: int) -> None:
        units = {charge.key: given for charge in charges.quotas}
        tokens = dict.fromkeys(zip(charges.keys, charges.flows, strict=False), given)
        for store in self.stores:
            await store.refund(tag, units, tokens)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def client(runner: asyncio.Runner, _cluster: Cluster) -> Iterator[Faults]:
    tasks = Tasks()

    async def connect() -> Faults:
        made = Faults(parse_address(_cluster.url), Slots.in_memory(), tasks, timeout_s=5)
        _ = [ClusterStore(made, SystemClock(), None)]  # its scripts are known before it connects
        made.start()
        assert await made.wait_until_up(30)
        return made

    async def leave() -> None:
        await made.close()
        await tasks.close()

    made = runner.run(connect())
    yield made
    runner.run(leave())


_given = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_who = st.integers(0, 5)
_calls = st.tuples(st.just("call"), _who, st.sampled_from([1, 1, 1, 2, 5, 0]))
_keeps = st.tuples(st.sampled_from(["release", "renew", "crash"]), _who, st.just(0))
_settles = st.tuples(st.just("settle"), _who, st.sampled_from([-9, -1, 1, 4]))
# Never back: a part that was charged and given back has seen the later time, one that was not asked has not.
_waits = st.tuples(st.just("wait"), st.just(0), st.sampled_from([1, 3, 40, 400, 3000, SLOT_MS, 90_000]))
_events = st.lists(st.one_of(_calls, _calls, _calls, _keeps, _settles, _waits), min_size=4, max_size=40)


@settings(_given, max_examples=250)
@given(which=st.sampled_from(PLANS), events=_events)
@example(which=PLANS[0], events=[("call", 0, 1)] * 3 + [("call", 1, 1), ("wait", 0, 40), ("call", 0, 1)])
def test_parts_in_several_slots_decide_as_one_place_does(
    runner: asyncio.Runner,
    client: Faults,
    _cluster: Cluster,  # noqa: PT019  the session's, as it is: each history has accounts of its own
    which: ChargePlan,
    events: list[tuple[str, int, int]],
) -> None:
    world = World(_cluster, client)
    runner.run(world.play(world.charges(which), events))


@_given
@given(
    which=st.sampled_from(PLANS[:3]),
    crowds=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0, 50, 400])), min_size=1, max_size=6),
)
def test_callers_at_the_same_time_take_no_more_than_there_is_and_leave_nothing_taken(
    runner: asyncio.Runner,
    client: Faults,
    _cluster: Cluster,  # noqa: PT019  as above
    which: ChargePlan,
    crowds: list[tuple[int, int]],
) -> None:
    """Between two parts of a call others see a token less: some may be refused, none too many admitted."""
    world = World(_cluster, client)
    charges = world.charges(which)

    async def play() -> None:
        for number, pause_ms in crowds:
            asks = [
                (world.tags[one % 2], Ask(slot=f"w.{next(_numbers)}" if charges.slot_keys else ""))
                for one in range(number)
            ]
            given = await asyncio.gather(*(world.store.decide(tag, charges, ask) for tag, ask in asks))
            for (tag, ask), decision in zip(asks, given, strict=True):
                if (
                    decision.status is Status.ADMITTED
                ):  # so the twin, which decides in one place, admits it too
                    told = await world.memory.decide(tag, charges, ask)
                    assert told.status is Status.ADMITTED
            for tag in world.tags:
                await world.both(tag, charges, Ask(calls=0))
            world.clock.advance(pause_ms / 1000)

    runner.run(play())


FAULTS = ["", "unsent", "unheard"]


@settings(_given, max_examples=250)
@given(
    which=st.sampled_from(PLANS),
    faults=st.lists(st.sampled_from(FAULTS), max_size=30),
    asks=st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0, 30, 700])), min_size=1, max_size=25),
)
@example(which=PLANS[0], faults=["", "unsent"], asks=[(0, 0)] * 6)
@example(which=PLANS[0], faults=["", "unheard", "unsent"], asks=[(0, 0)] * 6)
def test_with_nodes_lost_between_two_parts_nobody_too_many_is_admitted(
    runner: asyncio.Runner,
    client: Faults,
    _cluster: Cluster,  # noqa: PT019  as above
    which: ChargePlan,
    faults: list[str],
    asks: list[tuple[int, int]],
) -> None:
    """The twin is told of admitted calls alone: what faults leave charged besides can only refuse more."""
    world = World(_cluster, client)
    charges = world.charges(which)

    async def play() -> None:
        client.plan = iter(faults)
        for who, pause_ms in asks:
            ask = Ask(slot=f"w.{next(_numbers)}" if charges.slot_keys else "")
            tag = world.tags[who]
            try:
                decision = await world.store.decide(tag, charges, ask)
            except StoreUnavailable:
                continue
            if decision.status is Status.ADMITTED:
                assert (await world.memory.decide(tag, charges, ask)).status is Status.ADMITTED
            world.clock.advance(pause_ms / 1000)
        client.plan = iter(())
        world.clock.advance(60)
        for tag in world.tags:
            real, twin = [await store.decide(tag, charges, Ask(calls=0)) for store in world.stores]
            assert real.in_use == twin.in_use == (0,) * len(charges.slot_keys), "slots end by themselves"
            shared = [position for position, key in enumerate(charges.keys) if key[0] == "{"]
            full = [charges.flows[one].burst for one in shared]
            assert [real.left[one] for one in shared] == full, "tokens flow in again"

    try:
        runner.run(play())
    finally:
        client.plan = iter(())


def test_the_parts_lie_in_several_slots(_cluster: Cluster, client: Faults) -> None:  # noqa: PT019  as above
    world = World(_cluster, client)
    for which in PLANS:
        charges = world.charges(which)
        names = [key if key[0] == "{" else f"{{{world.tags[0]}}}:{key}" for key in charges.keys]
        assert len({slot_of(name) for name in names}) > 1
        assert Flow.of(BY_ROUTE).burst == 6

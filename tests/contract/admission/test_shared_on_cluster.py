"""What accounts share lies elsewhere on a cluster: calls are decided in turns, yet as if it did not."""

from __future__ import annotations

import random

import pytest

from gateway.admission.charges import Charges
from gateway.admission.cluster_store import ClusterStore
from gateway.admission.memory_store import MemoryStore
from gateway.admission.store import EXACT, Ask, Status, Store
from gateway.admission.token_bucket import Flow
from gateway.clock import ManualClock
from gateway.errors import CountersLost
from gateway.model.policies import ChargePlan
from gateway.storage.redis import parse_address
from gateway.storage.tick_cluster import TickCluster
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.clusters import Cluster
from tests.unit.admission.plans import at_once, limit, plan, quota

TAG, OTHER = "7l", "8l"
OWN, SHARED, SECOND = "b:burst", "{ip=203.0.113.9,l}:b:all:1/1000/3", "{route=r,l}:b:route:1/1000/9"
BUILDS, ROOM = "c:builds", "{route=r,l}:c:room:2"
PLAN = plan(
    limit(60, burst=6),
    limit(60, burst=3, name="all", scope=("ip",)),
    limit(60, burst=9, name="route", scope=("route",), shadow=True),
    quota(12),
    quota(7, meter="tokens", soft=True),
    at_once(3),
    at_once(2, name="room", scope=("route",)),
)
COUNTERS = (OWN, SHARED, SECOND, BUILDS, ROOM)
TIGHT = plan(limit(6, burst=1), limit(60, burst=3, name="all", scope=("ip",)))


def charges(store: Store, charged: ChargePlan, counters: tuple[str, ...]) -> Charges:
    return Charges(charged, store.now_ms()).paid_into(counters)


@pytest.mark.parametrize("seed", range(8))
async def test_a_cluster_answers_as_one_place_does(
    cluster_store: ClusterStore, clock: ManualClock, seed: int
) -> None:
    chance, stores = random.Random(seed), (MemoryStore(clock), cluster_store)
    slots: list[tuple[str, str]] = []
    for number in range(80):
        tag = chance.choice([TAG, OTHER])
        ask = Ask(calls=chance.choice([1, 1, 1, 0]), slot=chance.choice([f"s{number}", ""]))
        one, two = [await store.decide(tag, charges(store, PLAN, COUNTERS), ask) for store in stores]
        assert one == two, (number, ask)
        if one.status is Status.ADMITTED and ask.slot:
            slots.append((tag, ask.slot))
        for store in stores:
            if slots and number % 3 == 0:
                await store.release(slots[0][0], {key: [slots[0][1]] for key in (BUILDS, ROOM)})
            if number % 7 == 0:
                await store.refund(tag, {"q:api_calls": 1}, {(SHARED, Flow.of(PLAN.limits[1])): 1})
        slots = slots[1:] if number % 3 == 0 else slots
        clock.advance(chance.choice([0, 0.1, 0.4]))


async def test_an_account_that_is_refused_leaves_what_is_shared(cluster_store: ClusterStore) -> None:
    counters = (OWN, SHARED)
    answers = []
    for tag in (TAG, TAG, TAG, OTHER):
        decision = await cluster_store.decide(tag, charges(cluster_store, TIGHT, counters), EXACT)
        answers.append((decision.status, decision.left))
    assert answers == [
        (Status.ADMITTED, (0, 2)),
        (Status.REFUSED, (0, 2)),
        (Status.REFUSED, (0, 2)),
        (Status.ADMITTED, (0, 1)),
    ]


async def test_a_refusal_tells_the_longest_wait_of_all(cluster_store: ClusterStore) -> None:
    """The account's own bucket is asked last, and would keep him waiting for longer."""
    counters = (OWN, SHARED)
    every = plan(limit(60, burst=3, name="all", scope=("ip",)))
    for _ in range(2):
        await cluster_store.decide(OTHER, charges(cluster_store, every, (SHARED,)), EXACT)
    await cluster_store.decide(TAG, charges(cluster_store, TIGHT, counters), EXACT)
    refused = await cluster_store.decide(TAG, charges(cluster_store, TIGHT, counters), EXACT)
    assert (refused.status, refused.wait_ms) == (Status.REFUSED, (10_000, 1000))


async def test_what_is_shared_comes_back_when_counters_are_not_believed(
    cluster_store: ClusterStore, cluster: Cluster
) -> None:
    with_quota = plan(limit(60, burst=3, name="all", scope=("ip",)), quota(10))
    cluster.flush()
    for _ in range(5):
        with pytest.raises(CountersLost):
            await cluster_store.decide(TAG, charges(cluster_store, with_quota, (SHARED,)), EXACT)
    cluster.vouch_for(TAG)
    decision = await cluster_store.decide(TAG, charges(cluster_store, with_quota, (SHARED,)), EXACT)
    assert (decision.status, decision.left) == (Status.ADMITTED, (2, 9))


async def test_a_refusal_is_one_though_the_account_s_own_can_not_be_asked(
    cluster_store: ClusterStore, cluster: Cluster
) -> None:
    with_quota = plan(limit(60, burst=3, name="all", scope=("ip",)), quota(10))
    alone = plan(limit(60, burst=3, name="all", scope=("ip",)))
    cluster.flush()
    for _ in range(3):
        await cluster_store.decide(OTHER, charges(cluster_store, alone, (SHARED,)), EXACT)
    decision = await cluster_store.decide(TAG, charges(cluster_store, with_quota, (SHARED,)), EXACT)
    assert (decision.status, decision.wait_ms) == (Status.REFUSED, (1000, 0))


async def test_units_charged_before_a_loss_do_not_come_off(
    cluster_store: ClusterStore, cluster: Cluster
) -> None:
    alone = charges(cluster_store, plan(quota(10)), ())
    for _ in range(3):
        await cluster_store.decide(TAG, alone, EXACT)
    cluster.unvouch(TAG)
    with pytest.raises(CountersLost):
        await cluster_store.decide(TAG, alone, EXACT)
    await cluster_store.refund(TAG, {alone.keys[0]: 2})
    cluster.vouch_for(TAG)
    assert (await cluster_store.decide(TAG, alone, Ask(calls=0))).left == (7,)


async def test_whoever_only_looks_charges_nothing(cluster: Cluster, clock: ManualClock) -> None:
    tasks = Tasks()
    client = TickCluster(parse_address(cluster.url), Slots.in_memory(), tasks, timeout_s=5)
    looks = ClusterStore(client, clock, time_from=clock, looks_only=True)
    client.start()
    assert await client.wait_until_up(30)
    for _ in range(3):
        looked = await looks.decide(TAG, charges(looks, PLAN, COUNTERS), Ask(slot="look"))
        assert (looked.status, looked.left[:3], looked.in_use) == (Status.ADMITTED, (5, 2, 8), (1, 1))
    await client.close()
    await tasks.close()

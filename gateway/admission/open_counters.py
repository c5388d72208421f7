"""Quota counters and events for those who are not on a call's path, in whatever Redis there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.admission.cluster_counters import ClusterCounters, ClusterCrossings, one_that_is_up
from gateway.admission.counters import QuotaCounters
from gateway.admission.crossings import Crossings
from gateway.storage.redis import connect, parse_address
from gateway.storage.tick_cluster import TickCluster
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

CLUSTER_WITHIN_S = 2.0
"""For one call to a node of a cluster. Nobody waits for these as callers wait for theirs."""


@dataclass(frozen=True, slots=True)
class Counting:
    """What there is to read and to set right. `ping` raises when Redis does not answer. `close` it."""

    counters: QuotaCounters
    crossings: Crossings
    ping: Callable[[], Awaitable[object]]
    close: Callable[[], Awaitable[None]]


async def open_counters(url: str, *, timeout_s: float | None = None) -> Counting:
    """Those in the Redis at `url`, be it that it does not answer yet. `timeout_s`: for one call."""
    if not parse_address(url).cluster:
        client = connect(url, timeout_s=timeout_s)
        return Counting(QuotaCounters(client), Crossings(client), client.ping, client.aclose)
    tasks = Tasks()
    within_s = CLUSTER_WITHIN_S if timeout_s is None else timeout_s
    cluster = TickCluster(parse_address(url), Slots.in_memory(), tasks, timeout_s=within_s)
    counters = ClusterCounters(cluster)
    cluster.start()
    await cluster.wait_until_up()

    async def ping() -> object:
        """One node is enough: while others are gone, the accounts of these go on."""
        return await one_that_is_up(cluster).redis.call(("PING",))

    async def close() -> None:
        await cluster.close()
        await tasks.close()

    return Counting(counters, ClusterCrossings(cluster), ping, close)

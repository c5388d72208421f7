"""The store and its trust for whatever Redis there is."""

from __future__ import annotations

from gateway.admission.cluster_store import ClusterStore
from gateway.admission.cluster_trust import ClusterTrust
from gateway.admission.redis_store import RedisStore
from gateway.admission.trust import CounterTrust
from gateway.clock import Clock
from gateway.storage.tick_client import TickClient
from gateway.storage.tick_cluster import TickCluster
from gateway.telemetry.slots import Slots


def open_store(
    redis: TickClient, clock: Clock, slots: Slots, server: str | None
) -> tuple[RedisStore, CounterTrust | ClusterTrust]:
    """For a worker. `server`: what the one server is called whatever it says, see `CounterTrust`."""
    if isinstance(redis, TickCluster):
        of_slots = ClusterTrust(redis, slots)
        return ClusterStore(redis, clock, of_slots), of_slots
    trust = CounterTrust(redis, slots, server=server)
    return RedisStore(redis, clock, trust), trust


def open_onlooker(redis: TickClient, clock: Clock, server: str | None) -> RedisStore:
    """One that only looks, and believes what a worker would believe. `server` as above."""
    if isinstance(redis, TickCluster):
        return ClusterStore(redis, clock, _SlotsInPassing(redis, Slots.in_memory()), looks_only=True)
    return RedisStore(redis, clock, _InPassing(redis, Slots.in_memory(), server=server), looks_only=True)


class _InPassing(CounterTrust):
    """Looks at the mark with every call; that counters may have been lost is for workers to tell."""

    def doubt(self, tag: str) -> None:
        """Nothing to remember: the next call looks again."""


class _SlotsInPassing(ClusterTrust):
    """The same of a cluster."""

    def doubt(self, tag: str) -> None:
        """As above."""

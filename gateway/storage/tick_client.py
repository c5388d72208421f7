"""The hot path's client of whatever Redis there is: one server, or a cluster."""

from __future__ import annotations

from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TIMEOUT_S, TickRedis
from gateway.storage.tick_cluster import TickCluster
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

TickClient = TickRedis | TickCluster


def tick_client(url: str, slots: Slots, tasks: Tasks, *, timeout_s: float = TIMEOUT_S) -> TickClient:
    """A client of the Redis at `url`, not yet started. StartupError when it is not a Redis URL."""
    address = parse_address(url)
    kind = TickCluster if address.cluster else TickRedis
    return kind(address, slots, tasks, timeout_s=timeout_s)

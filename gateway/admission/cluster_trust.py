"""Whether quota counters in a Redis Cluster can be believed: a mark in each hash slot, checked at each call.

The mark of a slot names the node that had the slot when its counters were rebuilt. It lies in the slot, so
the script that charges an account looks at it in the same call, on the very node that runs it. A node that
was flushed has no marks; one that was restarted or took over is called something else, and so is one that a
slot moved to: what that one lost of the slot on its way, nobody can tell from outside.
"""

from __future__ import annotations

import asyncio
import random

from gateway.admission.trust import LOOK_S, MARK, Telling
from gateway.errors import StoreUnavailable
from gateway.inline import Wait
from gateway.storage.hash_slots import slot_of, tags
from gateway.storage.tick_cluster import NODE, TickCluster
from gateway.telemetry.slots import Slots

LOOKS_MAX = 256
"""Slots looked at in one look."""


def mark_of(hash_slot: int) -> str:
    """The mark of a slot: a key that lies in it."""
    return f"{MARK}:{{{tags()[hash_slot]}}}"


class ClusterTrust:
    """What one worker knows about the quota counters of its cluster."""

    def __init__(self, cluster: TickCluster, slots: Slots) -> None:
        self._cluster = cluster
        self._telling = Telling(slots)
        self._doubted: dict[int, None] = {}
        tags()  # now, not within a call

    def question(self, tag: str) -> tuple[str, str, int]:
        """Always to look: a slot may have been elsewhere meanwhile, and come back without its last second."""
        return mark_of(slot_of(tag)), NODE, 1

    def believes(self, tag: str) -> bool:
        """Whether no call of its slot met a wrong mark that has not been set right since."""
        return not self._doubted or slot_of(tag) not in self._doubted

    def doubt(self, tag: str) -> None:
        """`admit.lua` found another mark, or none."""
        self._doubted[slot_of(tag)] = None
        self._telling.lost()

    async def watch(self) -> None:
        """Look after slots that are doubted, so that somebody tells when they are right."""
        while True:
            await self.look()
            await asyncio.sleep(random.uniform(*LOOK_S))  # noqa: S311 - spreads load, hides nothing

    async def look(self) -> None:
        """Once, at some of the slots that are doubted."""
        if not self._doubted:
            return
        some = list(self._doubted)[:LOOKS_MAX]
        waits = [self._cluster.call(("GET", mark_of(one))) for one in some]
        for one, wait in zip(some, waits, strict=True):
            is_right = await self._is_right(one, wait)
            self._doubted.pop(one, None)
            if not is_right:
                self._doubted[one] = None  # behind the others: next time it is their turn
        if not self._doubted:
            self._telling.found()

    async def _is_right(self, one: int, wait: Wait[bytes | None]) -> bool:
        try:
            mark = await wait
        except StoreUnavailable:
            return False
        server = self._cluster.server_of(one)
        return bool(server) and mark == server.encode()

"""Whether quota counters can be believed: only those of a Redis that the ledger vouches for.

A mark in Redis names the server whose counters were rebuilt from the ledger. A flush takes it away with them,
a server that was restarted or took over is called something else. `admit.lua` looks at it in the same call:
when a counter is missing, and at each call until a worker found the mark right on its connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Protocol

from gateway.errors import StoreUnavailable
from gateway.storage.redis_tick import NAME_LENGTH, TickRedis
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.admission")

MARK = "tw:vouched"
"""Names the server whose quota counters the ledger vouches for."""
EMBEDDED = "embedded"
"""What the gateway's own server is always called: it loses nothing when it is restarted."""
LOOK_S = (0.1, 0.3)
"""Between two looks, at random: many workers do not come in one moment."""


def name_of(info: Mapping[str, object]) -> str:
    """What a server is called, by what it says about itself; as `TickRedis.server`."""
    return str(info.get("run_id", ""))[:NAME_LENGTH]


class Trust(Protocol):
    """What a store asks and tells about the quota counters of an account."""

    def question(self, tag: str) -> tuple[str, str, int]:
        """For `admit.lua`: the mark, the server it has to name, and 1 if it is to look at any rate."""

    def believes(self, tag: str) -> bool:
        """Whether nothing speaks against its counters."""

    def doubt(self, tag: str) -> None:
        """`admit.lua` found another mark, or none."""


class Telling:
    """Says once that counters may have been lost, and once that they are rebuilt."""

    def __init__(self, slots: Slots) -> None:
        self._complained = False
        self._cells, self._slot = slots.cells, slot("quota_counters_trusted")
        self._cells[self._slot] = 1

    def lost(self) -> None:
        """Some may have been lost."""
        self._cells[self._slot] = 0
        if not self._complained:
            self._complained = True
            log.warning(
                "quota counters may have been lost: until they are rebuilt from the ledger, "
                "calls with quotas are treated as on_store_loss says"
            )

    def found(self) -> None:
        """All are vouched for."""
        self._cells[self._slot] = 1
        if self._complained:
            self._complained = False
            log.info("quota counters were rebuilt from the ledger")


class CounterTrust:
    """What one worker knows about the quota counters of its Redis.

    `server`: what it is called whatever it says; None: as it calls itself.
    """

    def __init__(self, redis: TickRedis, slots: Slots, *, server: str | None = None) -> None:
        self._redis = redis
        self._fixed = server
        self._sure_of: str | None = None
        self._telling = Telling(slots)

    @property
    def server(self) -> str:
        """What the server is called that this worker is connected to."""
        return self._fixed or self._redis.server

    @property
    def sure(self) -> bool:
        """Whether the mark was right on this connection, and nothing spoke against it since."""
        return self._sure_of == self.server

    def question(self, tag: str) -> tuple[str, str, int]:  # noqa: ARG002  one server has one mark
        server = self.server
        return MARK, server, 0 if self._sure_of == server else 1

    def believes(self, tag: str) -> bool:  # noqa: ARG002  as above
        return self.sure

    def doubt(self, tag: str) -> None:  # noqa: ARG002  as above
        self.lost()

    def lost(self) -> None:
        """The mark is another one, or gone."""
        self._sure_of = None
        self._telling.lost()

    async def watch(self) -> None:
        """Look after the mark while it is not known to be right, so that somebody tells when it is."""
        while True:
            if self._redis.up and not self.sure:
                await self._look()
            await asyncio.sleep(random.uniform(*LOOK_S))  # noqa: S311 - spreads load, hides nothing

    async def _look(self) -> None:
        server = self.server
        try:
            mark = await self._redis.call(("GET", MARK))
        except StoreUnavailable:
            return
        if mark == server.encode():
            self._found(server)
        else:
            self.lost()

    def _found(self, server: str) -> None:
        self._sure_of = server
        self._telling.found()

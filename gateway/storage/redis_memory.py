"""Whether Redis has been set to drop keys while the gateway runs; at the start it was not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import redis.exceptions

from gateway.storage.redis import evicting

LOOK_EVERY_S = 10.0
WITHIN_S = 2.0

log = logging.getLogger("tollway.redis")


class MemoryWatch:
    """Looks at `maxmemory-policy` now and then; says once when keys may be dropped, and when that ends."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.policy: str | None = None  # by which keys are dropped; None: as far as is known, none is

    async def watch(self) -> None:
        """Look for ever. A Redis that does not answer is for others to tell."""
        while True:
            with suppress(redis.exceptions.RedisError, OSError, TimeoutError):
                async with asyncio.timeout(WITHIN_S):
                    self._tell(await evicting(self._url))
            await asyncio.sleep(LOOK_EVERY_S)

    def _tell(self, policy: str | None) -> None:
        before, self.policy = self.policy, policy
        if policy is not None and policy != before:
            log.error(
                "Redis drops keys when its memory is full (maxmemory-policy %s), and with them limits and "
                "what customers have used; set it to noeviction",
                policy,
            )
        elif policy is None and before is not None:
            log.info("Redis keeps all keys again")

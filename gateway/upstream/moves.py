"""Names that have come to lead elsewhere: who is called over a kept connection moves as well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from gateway.upstream.names import RESOLVE_S, Names, is_address
from gateway.upstream.pool import Pool

log = logging.getLogger("tollway.upstream")


class Moves:
    """Looks after the targets of an upstream that are host names.

    Calls keep connections busy for ever, and would stay with an instance that was taken out of DNS. An
    address is gone when two answers in a row lack it: of some names each answer has a few of many addresses.
    """

    def __init__(self, pools: Sequence[Pool], names: Names) -> None:
        self._names = names
        named = [pool for pool in pools if not pool.target.socket and not is_address(pool.target.host)]
        self._before: dict[Pool, tuple[str, ...]] = dict.fromkeys(named, ())

    @property
    def are_possible(self) -> bool:
        """Whether any target is a name."""
        return bool(self._before)

    async def follow_forever(self) -> None:
        """Look every now and then."""
        while True:
            await asyncio.sleep(RESOLVE_S)
            await self.look()

    async def look(self) -> None:
        """Leave addresses that have gone. A resolver that fails takes none away."""
        for pool, before in self._before.items():
            if not pool.connections:
                continue
            try:
                now = await self._names.addresses(pool.target.host)
            except OSError:
                continue
            self._before[pool] = now
            if before and (left := pool.leave_all_but({*before, *now})):
                extra = {"upstream": pool.spec.name, "target": pool.target.place, "count": left}
                log.info(
                    "connections to addresses that the name of a target has lost are given up", extra=extra
                )

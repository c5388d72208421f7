"""The limit on a call as a whole, for routes and upstreams that have one."""

from __future__ import annotations

import asyncio

from gateway.deadlines import NEVER, Deadlines
from gateway.errors import UpstreamTimeout
from gateway.model.exchange import Exchange
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.parked import Parked


class TotalTime:
    """Ends a call that takes too long, whether it waits for a connection, an answer or the end of one."""

    def __init__(self, exchange: Exchange, total_s: float, deadlines: Deadlines) -> None:
        self.deadline = asyncio.get_running_loop().time() + total_s
        self._exchange = exchange
        self._total_s = total_s
        self._deadlines = deadlines
        deadlines.add(self)

    def expire(self) -> None:
        """Deadlines: that was too long."""
        uplink = self._exchange.uplink
        if isinstance(uplink, UpstreamConnection | Parked):  # else it has just ended
            uplink.give_up(UpstreamTimeout(internal=f"total: the call took more than {self._total_s:g} s"))

    def over(self) -> None:
        """The call has ended."""
        self.deadline = NEVER
        self._deadlines.discard(self)

"""The connections of one worker: which are open, how many there may be, and how they end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from gateway.clock import SystemClock
from gateway.dataplane.caller import NOBODY, ProxyProtocol, Trust
from gateway.dataplane.connection import Connection, Handle
from gateway.dataplane.entrance import Entrance, Threshold
from gateway.dataplane.uptake import quiet_s, unread_bytes
from gateway.dataplane.waits import Waits
from gateway.deadlines import Deadlines
from gateway.model.exchange import Exchange
from gateway.model.networks import address_block
from gateway.outbox import Outbox
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots
from gateway.throttle import Throttle

IDLE_GRACE_S = 1.0
"""How long a draining worker waits for one last call on a kept connection."""
REPLACED_GRACE_S = 5.0
"""The same where another worker serves already: nobody waits for this one to end."""
TOLD_PER_MINUTE = 10
"""Lines in the log about connections without the preamble that is asked for; a metric counts all of them."""
FAREWELL_S = 2.0
"""For WebSockets to be told of the end, and to close."""
LOOK_S = 0.05
"""How often it looks at its connections meanwhile."""


class DataplaneServer:
    """Makes one `Connection` per accepted socket and knows which are open.

    `tls` is spoken on every connection, after the PROXY preamble if `trust` asks for one.
    """

    def __init__(
        self,
        handle: Handle,
        waits: Waits,
        deadlines: Deadlines,
        outbox: Outbox,
        slots: Slots,
        *,
        trust: Trust = NOBODY,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        is_plain = tls is None and trust.proxy_protocol is ProxyProtocol.OFF
        told = Throttle(SystemClock(), TOLD_PER_MINUTE, 60)
        self._threshold = None if is_plain else Threshold(trust, tls, waits.head_s, deadlines, slots, told)
        self._trust = trust
        self._handle = handle
        self._waits = waits
        self._deadlines = deadlines
        self._outbox = outbox
        self._slots = slots
        self._open: set[Connection] = set()
        self._is_leaving = False
        self._open_from: dict[str, int] = {}  # by address, or block of them
        self._open_slot = slot("connections")
        self._total_slot = slot("connections_total")
        self._refused_slot = slot("connections_refused_total")
        slots.set("connections", 0)  # what a worker that died left behind

    def __call__(self) -> Connection | Entrance:
        """A protocol for the next socket."""
        connection = self.connection()
        return connection if self._threshold is None else Entrance(connection, self._threshold, self)

    def connection(self) -> Connection:
        """One on which HTTP begins with its first byte."""
        return Connection(self._handle, self._waits, self._deadlines, self._outbox, self, self._trust)

    def opened(self, connection: Connection) -> None:
        """A connection is there. Cut at once when there are too many.

        Said again when HTTP begins behind a preamble or a handshake; it has been counted then.
        """
        if connection in self._open:
            return
        self._open.add(connection)
        if self._is_leaving:
            connection.say_last()
        count = self._count(connection.address)
        if len(self._open) > self._waits.max_connections or count > self._waits.max_connections_per_address:
            self._cut(connection)
        self._slots.cells[self._open_slot] = len(self._open)
        self._slots.cells[self._total_slot] += 1

    def named(self, connection: Connection, address: str) -> None:
        """Its PROXY preamble says whom it is for: it counts for that address instead of its peer's."""
        self._uncount(connection.address)
        connection.address = address
        if self._count(address) > self._waits.max_connections_per_address:
            self._cut(connection)

    def closed(self, connection: Connection) -> None:
        """A connection is gone. Saying it again changes nothing."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._uncount(connection.address)
        self._slots.cells[self._open_slot] = len(self._open)

    def _count(self, address: str) -> int:
        block = _block(address)
        count = self._open_from[block] = self._open_from.get(block, 0) + 1
        return count

    def _uncount(self, address: str) -> None:
        block = _block(address)
        left = self._open_from.pop(block) - 1
        if left:
            self._open_from[block] = left

    def _cut(self, connection: Connection) -> None:
        self._slots.cells[self._refused_slot] += 1
        connection.abort()

    def admitted_before(self, instant_us: int) -> list[tuple[Connection, Exchange]]:
        """Admitted calls under way that began before a monotonic instant. A millisecond for 10 000."""
        return [
            (connection, exchange)
            for connection in self._open
            if (exchange := connection.exchange) is not None
            and exchange.started_monotonic_us < instant_us
            and exchange.grant is not None
        ]

    def say_last(self) -> None:
        """Connections end behind their next answer, which says so. Ask again for those that had begun one."""
        self._is_leaving = True
        for connection in self._open:
            connection.say_last()

    async def drain(self, timeout_s: float, grace_s: Callable[[], float] = lambda: IDLE_GRACE_S) -> None:
        """Let calls in flight finish and silent connections go; cut what is left after `timeout_s`.

        A caller on a kept connection may have sent its next call before it could hear of the end. So that
        call is answered, and only who stays silent for `grace_s`, which may change meanwhile, is closed. So
        it is within a handshake: each step of it has as long, and then the call. WebSockets hear of the end
        `FAREWELL_S` before it.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        idle_since: dict[Connection, float] = {}
        await asyncio.sleep(0)  # what was just accepted is opened in the next tick
        while self._open and (now := loop.time()) < give_up_at:
            self.say_last()
            for connection in list(self._open):
                if not connection.is_idle() or unread_bytes(connection.transport):
                    idle_since.pop(connection, None)
                elif (
                    now - idle_since.setdefault(connection, now) >= (least_s := grace_s())
                    and quiet_s(connection.transport) >= least_s
                ):
                    connection.leave()
            if now >= give_up_at - FAREWELL_S:
                for connection in list(self._open):
                    connection.go_away()
            await asyncio.sleep(min(LOOK_S, give_up_at - now))
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)


def _block(address: str) -> str:
    """What counts as one caller. Only IPv6 has to be looked at: this is done twice for each connection."""
    return address_block(address) if ":" in address else address

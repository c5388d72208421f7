"""Connections to one target of an upstream."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.deadlines import NEVER
from gateway.errors import GatewayError, UpstreamBusy, UpstreamUnreachable
from gateway.model.exchange import Exchange
from gateway.model.policies import Target, Upstream
from gateway.telemetry.catalogue import slot
from gateway.upstream.condition import Condition
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dialling import Dialler
from gateway.upstream.means import Means
from gateway.upstream.parked import Parked
from gateway.upstream.tls import TlsFiles


class Judge(Protocol):
    """Who decides what the condition of a target means for it."""

    def call_failed(self, pool: Pool, why: str) -> None:
        """A call to a target failed, and not through its caller."""

    def readmit(self, pool: Pool) -> None:
        """The time for which failed calls took a target out is over."""


class Pool:
    """Kept connections, the last used first so that the rest can age out, and new ones up to a limit."""

    def __init__(self, spec: Upstream, target: Target, tls: TlsFiles, means: Means, judge: Judge) -> None:
        self.spec = spec
        self.target = target
        self.condition = Condition(spec.ejection, spec.health)
        self.troubled = False
        self.deadline = NEVER  # while it is out for failed calls: when that is over
        self._judge = judge
        self.host_line = b"Host: %b\r\n" % target.authority.encode()
        self._means = means
        self.dialler = Dialler(target, tls, spec.tls.server_name, means.names)
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self._opening = 0
        self._open_slot = slot("upstream_connections")

    @property
    def in_use(self) -> int:
        """Calls at hand, those that wait for their connection to be made included."""
        return len(self._connections) - len(self._idle) + self._opening

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self, exchange: Exchange) -> UpstreamConnection:
        """A new connection for a call. Raises UpstreamBusy at the limit, at once; UpstreamUnreachable or
        UpstreamTimeout when there is no way; what broke the exchange when its caller is gone meanwhile.
        """
        timeouts = (exchange.route and exchange.route.timeouts) or self.spec.timeouts
        if len(self._connections) + self._opening >= self.spec.max_connections:
            raise UpstreamBusy(internal=f"{self.spec.name}: {self.spec.max_connections} connections in use")
        parked = Parked(exchange)
        self._opening += 1
        self._means.tasks.spawn(self._open(parked, timeouts.connect_s), name="upstream.connect")
        return await parked.wait

    async def _open(self, parked: Parked, timeout_s: float) -> None:
        """Open a connection for a call; one that nobody waits for any more is kept for the next."""
        failure: BaseException = UpstreamUnreachable(internal=f"connect: {self.target.place}: given up")
        connection = None
        try:
            connection = await self.dialler.dial(
                lambda: UpstreamConnection(self, self._means.outbox), timeout_s
            )
        except (GatewayError, asyncio.CancelledError) as error:
            failure = error
            if isinstance(error, asyncio.CancelledError):
                raise
            self.call_failed(error.internal)
        finally:
            self._opening -= 1
            if connection is None:
                parked.give_up(failure)
        self._means.slots.add("upstream_connections_total")
        if connection is not None and not parked.connected(connection):
            connection.rest()

    def opened(self, connection: UpstreamConnection) -> None:
        self._connections.add(connection)
        self._means.deadlines.add(connection)
        self._means.slots.cells[self._open_slot] += 1

    def release(self, connection: UpstreamConnection) -> None:
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        self._connections.discard(connection)
        self._means.deadlines.discard(connection)
        self._means.slots.cells[self._open_slot] -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def call_failed(self, why: str) -> None:
        self.troubled = True
        self._judge.call_failed(self, why)

    def call_went_well(self) -> None:
        self.troubled = False
        self.condition.call_went_well()

    def expire(self) -> None:
        """Deadlines: it has been out long enough."""
        self._judge.readmit(self)

    def close(self) -> None:
        """Close what is idle; connections that carry a call end with it."""
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()

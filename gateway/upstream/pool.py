"""Connections to one target of an upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from gateway.deadlines import NEVER
from gateway.errors import GatewayError, UpstreamUnreachable
from gateway.model.policies import Target, Upstream
from gateway.telemetry.catalogue import slot
from gateway.upstream.condition import Condition
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dialling import Dialler
from gateway.upstream.means import Means
from gateway.upstream.parked import Parked
from gateway.upstream.tls import TlsFiles


class Judge(Protocol):
    """Who decides what the condition of a target means for it, and who gets what becomes free."""

    def call_failed(self, pool: Pool, why: str) -> None:
        """A call to a target failed, and not through its caller."""

    def readmit(self, pool: Pool) -> None:
        """The time for which failed calls took a target out is over."""

    def something_is_free(self) -> None:
        """A connection, or room for one, while calls wait."""


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
        self.dialler = Dialler(target, tls, spec.tls.server_name, means.names, means.objection)
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self._opening = 0
        self._open_slot = slot("upstream_connections")
        max_idle = spec.keepalive.max_idle
        self._max_idle = spec.max_connections if max_idle is None else max_idle
        self._keeps = self._max_idle  # how many may be idle now: none while calls wait
        self._held: list[UpstreamConnection] = []  # became free while calls wait, for them
        self._is_held = False
        self._closed = False

    @property
    def connections(self) -> int:
        """Open ones, idle or not."""
        return len(self._connections)

    @property
    def in_use(self) -> int:
        """Calls at hand, those that wait for their connection to be made included."""
        return len(self._connections) - len(self._idle) + self._opening

    @property
    def has_room(self) -> bool:
        """Whether there may be one more connection."""
        return len(self._connections) + self._opening < self.spec.max_connections

    @property
    def has_idle(self) -> bool:
        """Whether `take` may have something."""
        return bool(self._idle)

    @property
    def may_connect_for_queue(self) -> bool:
        """Whether a waiting call may get a connection made.

        After a failure one at a time, until one is made: calls that can wait for another target should not
        all learn together that this one is gone.
        """
        return self.has_room and not (self.troubled and self._opening)

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    def connect(self, parked: Parked) -> None:
        """Make a connection for a call, which hears of it, or of the failure. There must be room."""
        assert self.has_room, "a limit is a limit"
        self._opening += 1
        self._means.tasks.spawn(self._open(parked), name="upstream.connect")

    async def _open(self, parked: Parked) -> None:
        """Open a connection for a call; one that nobody waits for any more is kept for the next."""
        failure: GatewayError = UpstreamUnreachable(internal=f"connect: {self.target.place}: given up")
        connection = None
        try:
            connection = await self._dial(parked.timeouts.connect_s)
        except asyncio.CancelledError as cancelled:
            parked.give_up(cancelled)
            raise
        except GatewayError as error:
            failure = error
            self.call_failed(error.internal)
        finally:
            self._opening -= 1
            if connection is None:
                parked.not_connected(self, failure)
            self._tell_if_awaited()
        self._means.slots.add("upstream_connections_total")
        if connection is not None and not parked.connected(connection):
            connection.rest()

    async def _dial(self, timeout_s: float) -> UpstreamConnection:
        connection = await self.dialler.dial(lambda: UpstreamConnection(self, self._means.outbox), timeout_s)
        if connection.transport.is_closing():
            raise UpstreamUnreachable(internal=f"connect: {self.target.place}: closed at once")
        return connection

    def opened(self, connection: UpstreamConnection) -> None:
        self._connections.add(connection)
        self._means.deadlines.add(connection)
        self._means.slots.cells[self._open_slot] += 1

    def release(self, connection: UpstreamConnection) -> None:
        if len(self._idle) < self._keeps:
            self._idle.append(connection)
        elif self._is_held and not self._closed:
            self._held.append(connection)
            self._judge.something_is_free()
        else:
            self._keep(connection)

    def _keep(self, connection: UpstreamConnection) -> None:
        """Instead of the one that was not used for the longest time, if there are as many as may be."""
        self._idle.append(connection)
        most = 0 if self._closed else self._max_idle
        while len(self._idle) > most:
            self._idle.pop(0).close()

    def lost(self, connection: UpstreamConnection) -> None:
        self._connections.discard(connection)
        self._means.deadlines.discard(connection)
        self._means.slots.cells[self._open_slot] -= 1
        for kept in (self._idle, self._held):
            if connection in kept:
                kept.remove(connection)
        self._tell_if_awaited()

    def frames_refused(self, direction: str) -> None:
        self._means.slots.add("messages_refused_total", 1, direction)

    def call_failed(self, why: str) -> None:
        self.troubled = True
        self._judge.call_failed(self, why)

    def call_went_well(self) -> None:
        self.troubled = False
        self.condition.call_went_well()

    def expire(self) -> None:
        """Deadlines: it has been out long enough."""
        self._judge.readmit(self)

    def leave_all_but(self, addresses: Collection[str]) -> int:
        """Connections to other addresses carry no call after the one at hand. How many these are, newly."""
        left = [connection for connection in self._connections if connection.leads_elsewhere(addresses)]
        for connection in left:
            connection.retire()
        for connection in [connection for connection in self._idle if connection in left]:
            connection.close()
        return len(left)

    # -- while calls wait -------------------------------------------------------------------------------

    def hold(self, *, held: bool) -> None:
        """From now on, what becomes free is for the calls that wait; or, they are all served."""
        self._is_held = held
        self._keeps = 0 if held or self._closed else self._max_idle

    def take_held(self) -> UpstreamConnection | None:
        """An open connection for a call that waits, or None."""
        while self._held:
            connection = self._held.pop()
            if not connection.transport.is_closing():
                return connection
        return self.take()

    def settle(self) -> None:
        """What nobody who waits could use is kept as always."""
        held, self._held = self._held, []
        for connection in held:
            if not connection.transport.is_closing():
                self._keep(connection)

    def _tell_if_awaited(self) -> None:
        if self._is_held:
            self._judge.something_is_free()

    # -- the end ----------------------------------------------------------------------------------------

    def close_idle(self) -> None:
        """Close what is idle; other connections stay as they are."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Keep nothing any more: connections that carry a call end with it."""
        self._closed = True
        self._keeps = 0
        self.close_idle()

"""Kept connections to one target of an upstream."""

from __future__ import annotations

import asyncio

from gateway.deadlines import Deadlines
from gateway.errors import UpstreamBusy, UpstreamUnreachable
from gateway.model.policies import Target, Upstream
from gateway.outbox import Outbox
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots
from gateway.upstream.connection import UpstreamConnection


class Pool:
    """Idle connections, the last used first so that the rest can age out."""

    def __init__(
        self, spec: Upstream, target: Target, deadlines: Deadlines, outbox: Outbox, slots: Slots
    ) -> None:
        self.spec = spec
        self.target = target
        self.host_line = b"Host: %b\r\n" % target.authority.encode()
        self._deadlines = deadlines
        self._outbox = outbox
        self._slots = slots
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self._opening = 0
        self._open_slot = slot("upstream_connections")

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection. Raises UpstreamBusy at the limit, UpstreamUnreachable when there is no way."""
        if len(self._connections) + self._opening >= self.spec.max_connections:
            raise UpstreamBusy(internal=f"{self.spec.name}: {self.spec.max_connections} connections in use")
        self._opening += 1
        try:
            async with asyncio.timeout(self.spec.timeouts.connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: UpstreamConnection(self, self._outbox), self.target.host, self.target.port
                )
        except TimeoutError as late:
            raise UpstreamUnreachable(internal=f"{self.target.authority}: no connection in time") from late
        except OSError as lost:
            raise UpstreamUnreachable(internal=f"{self.target.authority}: {lost.strerror or lost}") from lost
        finally:
            self._opening -= 1
        self._slots.add("upstream_connections_total")
        return connection

    def opened(self, connection: UpstreamConnection) -> None:
        self._connections.add(connection)
        self._deadlines.add(connection)
        self._slots.cells[self._open_slot] += 1

    def release(self, connection: UpstreamConnection) -> None:
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        self._connections.discard(connection)
        self._deadlines.discard(connection)
        self._slots.cells[self._open_slot] -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what is idle; connections that carry a call end with it."""
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()

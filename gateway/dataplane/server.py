"""aiohttp's server shell around our connections: it owns sockets, TLS and the order of shutdown."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import web

from gateway.dataplane.connection import Connection, Handle, Waits
from gateway.deadlines import Deadlines
from gateway.model.exchange import Exchange
from gateway.outbox import Outbox
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots


class DataplaneServer(web.Server):
    """Makes one `Connection` per accepted socket and knows which are open."""

    def __init__(
        self, handle: Handle, waits: Waits, deadlines: Deadlines, outbox: Outbox, slots: Slots
    ) -> None:
        super().__init__(_unused)
        self._handle = handle
        self._waits = waits
        self._deadlines = deadlines
        self._outbox = outbox
        self._slots = slots
        self._open: set[Connection] = set()
        self._open_from: dict[str, int] = {}  # by address
        self._one_closed = asyncio.Event()
        self._open_slot = slot("connections")
        self._total_slot = slot("connections_total")
        self._refused_slot = slot("connections_refused_total")

    def __call__(self) -> Connection:  # type: ignore[override]  # any asyncio protocol will do
        return Connection(self._handle, self._waits, self._deadlines, self._outbox, self)

    def opened(self, connection: Connection) -> None:
        """A connection is there, its TLS handshake done. Cut at once when there are too many."""
        self._open.add(connection)
        count = self._open_from[connection.address] = self._open_from.get(connection.address, 0) + 1
        waits = self._waits
        if len(self._open) > waits.max_connections or count > waits.max_connections_per_address:
            self._slots.cells[self._refused_slot] += 1
            connection.abort()
        self._slots.cells[self._open_slot] = len(self._open)
        self._slots.cells[self._total_slot] += 1

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        left = self._open_from.pop(connection.address, 0) - 1
        if left > 0:
            self._open_from[connection.address] = left
        self._one_closed.set()
        self._slots.cells[self._open_slot] = len(self._open)

    def admitted_before(self, instant_us: int) -> list[tuple[Connection, Exchange]]:
        """Admitted calls under way that began before a monotonic instant. A millisecond for 10 000."""
        return [
            (connection, exchange)
            for connection in self._open
            if (exchange := connection.exchange) is not None
            and exchange.started_monotonic_us < instant_us
            and exchange.grant is not None
        ]

    def pre_shutdown(self) -> None:
        """Idle connections are closed, busy ones after their answer."""
        for connection in list(self._open):
            connection.drain()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  aiohttp's signature
        """Wait up to `timeout` seconds for answers in flight, then cut what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._open:
                    self._one_closed.clear()
                    await self._one_closed.wait()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)


class PublicSite(web.TCPSite):
    """aiohttp's listening site, with an end to TLS handshakes that do not get anywhere."""

    __slots__ = ("handshake_s",)
    handshake_s: float

    async def start(self) -> None:
        """Listen; like the inherited method, but for the time a handshake may take."""
        if self._ssl_context is None:
            await super().start()
            return
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None, "the runner is set up first"
        self._server = await asyncio.get_running_loop().create_server(
            server,
            self._host,
            self._port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=self.handshake_s,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
        )
        self._bound_port = self._server.sockets[0].getsockname()[1]


async def _unused(_: Any) -> web.StreamResponse:
    raise AssertionError("connections are ours, aiohttp's request handler is never asked")

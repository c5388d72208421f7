"""A whole data plane between fake connections: the real pipeline, connections, pool and parsers."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gateway.clock import SystemClock
from gateway.dataplane.caller import NOBODY
from gateway.dataplane.connection import Connection
from gateway.dataplane.overload import Bounds, Overload
from gateway.dataplane.pipeline import Pipeline
from gateway.dataplane.waits import Waits
from gateway.deadlines import Deadlines
from gateway.errors import RateLimited, Unauthenticated
from gateway.inline import Wait
from gateway.model.exchange import Exchange, Grant
from gateway.model.policies import Route, Target, Timeouts, Upstream
from gateway.outbox import Outbox
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.forwarder import Forwarder
from tests.fuzz.callers import Caller
from tests.fuzz.origins import Origin
from tests.fuzz.transports import FakeTransport, SteppedLoop

WAITS = Waits(max_head_bytes=4096)
UPSTREAM = Upstream("up", (Target("192.0.2.9", 80),), Timeouts(), max_connections=4)
ROUTE = Route("all", "/**", frozenset(), frozenset(), UPSTREAM, frozenset(), {})


class _Principal:
    """Whoever calls, with the path that says what becomes of it."""

    account = "acct_1"
    identity_lines = b"Tollway-Account: acct_1\r\n"

    def __init__(self, path: str) -> None:
        self.path = path


class Stages:
    """Routing, keys, limits and the journal: they say yes by the path, and note who came."""

    def __init__(self) -> None:
        self.begun: list[Exchange] = []  # identified, in order
        self.ended: list[Exchange] = []
        self.settled: list[Exchange] = []
        self.journalled: list[Exchange] = []
        self.gates: list[Wait[None]] = []
        self.is_over = False  # a failed test: what was still on its way is swept up

    def current(self) -> Stages:
        return self

    def match(self, head: Any) -> Route:
        return ROUTE

    def charges(self, exchange: Exchange) -> Any:
        return None

    async def authenticate(self, exchange: Exchange) -> Any:
        path = exchange.head.path
        if path.startswith("/slow/"):
            gate: Wait[None] = Wait()
            self.gates.append(gate)
            await gate
        if path.startswith("/deny/"):
            raise Unauthenticated
        return _Principal(path)

    async def admit(self, principal: Any, plan: Any, exchange: Exchange) -> Grant:
        if principal.path.startswith("/limit/"):
            raise RateLimited(internal="as asked")
        if principal.path.startswith("/fail/"):
            raise ArithmeticError("a defect, as asked")
        return Grant(cast("Any", None), cast("Any", None), b"RateLimit: ok\r\n")

    def settle(self, exchange: Exchange) -> None:
        self.settled.append(exchange)

    def identify(self, exchange: Exchange) -> None:
        exchange.request_id = b"%036d" % len(self.begun)
        self.begun.append(exchange)

    def begin(self, exchange: Exchange) -> None:
        assert exchange in self.begun
        assert exchange not in self.journalled
        self.journalled.append(exchange)

    def end(self, exchange: Exchange) -> None:
        if self.is_over:
            return
        assert exchange not in self.ended, "ended twice"
        assert exchange.outcome is not None, "ended without an outcome"
        self.ended.append(exchange)


class World:
    """All of it, and the two kinds of peers. `settle` lets everything happen that can happen now."""

    def __init__(self) -> None:
        self.loop = SteppedLoop()
        self.loop.dial = self._dial
        self.connections: dict[FakeTransport, Connection] = {}
        self.open: set[Connection] = set()
        self.callers: list[Caller] = []
        self.origins: list[Origin] = []
        self.dialling = "accept"
        self.held: list[tuple[asyncio.Future[None], FakeTransport]] = []
        self.stages = Stages()
        self.within(self._build)

    def within(self, action: Any, *arguments: Any) -> None:
        """Call something as the loop would, in its next tick."""
        self.loop.call_soon(action, *arguments)
        self.loop.tick()

    def _build(self) -> None:
        self.deadlines, self.outbox = Deadlines(), Outbox(self.loop)
        self.slots, self.tasks = Slots.in_memory(), Tasks()
        self.forwarder = Forwarder(self.deadlines, self.outbox, self.slots, self.tasks)
        self.forwarder.adopt({"up": UPSTREAM})
        stages = cast("Any", self.stages)
        overload = Overload(Bounds(), self.slots, SystemClock(), lambda: 0, lambda: None)
        self.pipeline = Pipeline(stages, stages, stages, stages, self.forwarder, overload=overload)

    # -- the shell -----------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)

    def closed(self, connection: Connection) -> None:
        assert connection in self.open, "closed twice"
        self.open.discard(connection)

    # -- peers ---------------------------------------------------------------------------------------------

    def connect(self, *, is_tls: bool = False) -> Caller:
        transport = FakeTransport(self.loop, is_tls=is_tls)

        def accept() -> None:
            connection = Connection(self.pipeline.handle, WAITS, self.deadlines, self.outbox, self, NOBODY)
            self.connections[transport] = connection
            transport.open(connection)

        self.within(accept)
        self.callers.append(Caller(transport))
        return self.callers[-1]

    def connection(self, caller: Caller) -> Connection:
        return self.connections[caller.transport]

    def _dial(self, transport: FakeTransport) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self.loop.create_future()
        if self.dialling == "hold":
            self.held.append((future, transport))
        else:
            self._dialled(future, transport)
        return future

    def _dialled(self, future: asyncio.Future[None], transport: FakeTransport) -> None:
        if future.done():
            return  # given up
        if self.dialling == "refuse":
            future.set_exception(ConnectionRefusedError(111, "refused"))
        else:
            self.origins.append(Origin(transport))
            future.set_result(None)

    def dial(self, how: str) -> None:
        """What becomes of attempts to connect, those that wait included."""
        self.dialling = how
        if how != "hold":
            for future, transport in self.held:
                self.loop.call_soon(self._dialled, future, transport)
            self.held.clear()

    def wait(self, seconds: float) -> None:
        self.loop.now += seconds
        self.loop.settle()

    def settle(self) -> None:
        self.loop.settle()

    def close(self) -> None:
        self.stages.is_over = True
        self.loop.run_until_complete(self.tasks.close())
        self.loop.close()

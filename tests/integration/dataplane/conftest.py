"""A data plane with real sockets: everybody is let in, the upstream does what the test says."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from gateway.auth.authenticator import Authenticator
from gateway.clock import SystemClock
from gateway.dataplane.caller import NOBODY, Trust
from gateway.dataplane.connection import Connection
from gateway.dataplane.listening import Listeners
from gateway.dataplane.overload import Bounds, Overload
from gateway.dataplane.pipeline import Pipeline
from gateway.dataplane.server import DataplaneServer
from gateway.dataplane.waits import Waits
from gateway.deadlines import Deadlines
from gateway.errors import FeatureRequired, RateLimited, Unauthenticated
from gateway.model.exchange import Exchange, Grant, RequestHead
from gateway.model.policies import NO_LIMIT, Keepalive, PolicySet, Route, Target, Timeouts, Upstream
from gateway.model.principal import Principal
from gateway.outbox import Outbox
from gateway.outcomes import Outcome
from gateway.routing.table import RoutingTable
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.forwarder import Forwarder
from gateway.upstream.pool import Pool
from tests.loops import pytest_asyncio_loop_factories  # noqa: F401  a hook of this folder

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def close_all(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        with suppress(ConnectionError):
            await writer.wait_closed()


class ScriptedUpstream:
    """A server that runs the test's script on each connection and keeps what it was sent."""

    def __init__(self) -> None:
        self.script: Script = self.answer_ok
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await close_all(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await self.script(reader, writer)
        writer.close()

    async def head(self, reader: asyncio.StreamReader) -> bytes:
        head = await read_head(reader)
        self.heads.append(head)
        return head

    async def answer_ok(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep-alive, answering each bodiless request with its target."""
        while True:
            target = (await self.head(reader)).split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    def answering(self, raw: bytes, *, then_close: bool = False) -> None:
        """Answer every request head with these bytes."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await self.head(reader)
                writer.write(raw)
                if then_close:
                    return

        self.script = script


@dataclass
class Stages:
    """Every stage of the pipeline but routing and the upstream: everybody may do everything."""

    proxy: Proxy
    table: RoutingTable
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def current(self) -> Stages:
        return self

    def match(self, head: RequestHead) -> Route:
        return self.table.match(head)

    def charges(self, exchange: Exchange) -> None:
        """Nothing; but nobody has the features that routes require."""
        if exchange.route is not None and exchange.route.requires:
            raise FeatureRequired

    def identify(self, exchange: Exchange) -> None:
        exchange.request_id = b"00000000-0000-8000-8000-%012x" % next(self.numbers)

    async def authenticate(self, exchange: Exchange) -> Principal | None:
        if exchange.head.path == "/slow-auth":
            await self.proxy.tasks.spawn(self.proxy.gate.wait(), name="test.gate")
        if exchange.head.path == "/deny":
            raise Unauthenticated
        if self.proxy.auth is not None:
            return await self.proxy.auth.authenticate(exchange)
        return self.proxy.principal

    async def admit(self, principal: Any, plan: Any, exchange: Exchange) -> Grant:
        if exchange.head.path == "/limited":
            raise RateLimited(headers=b"Retry-After: 1\r\n")
        return Grant(principal, plan, b"")

    def begin(self, exchange: Exchange) -> None:
        """Not noted."""

    def end(self, exchange: Exchange) -> None:
        self.proxy.exchanges.append(exchange)
        self.proxy.changed.set()

    def settle(self, exchange: Exchange) -> None:
        """Nothing was taken."""


@dataclass
class Proxy:
    """The data plane under test. `/slow-auth` waits for `gate`.

    `/deny` is refused with 401, `/limited` with 429, what is at or below `closed` with 403.
    """

    upstream: ScriptedUpstream
    waits: Waits = field(default_factory=Waits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_connections: int = 512
    max_waiting: int = 256
    upstream_host: str = "127.0.0.1"
    keepalive: Keepalive = field(default_factory=Keepalive)
    max_body_bytes: int = NO_LIMIT
    route: Mapping[str, Any] = field(default_factory=dict)  # what is special about the only one
    closed: str = ""
    principal: Principal | None = None  # who all callers are
    auth: Authenticator | None = None  # else: who knows who they are
    tls: ssl.SSLContext | None = None
    trust: Trust = NOBODY
    preamble: bytes = b""  # with which honest clients begin
    client_tls: ssl.SSLContext | None = None  # which they speak then
    host: str = "127.0.0.1"
    exchanges: list[Exchange] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    slots: Slots = field(default_factory=Slots.in_memory)
    tasks: Tasks = field(default_factory=Tasks)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _listeners: Listeners | None = None
    _listening: socket.socket | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        deadlines, outbox = Deadlines(), Outbox(loop)
        self._forwarder = Forwarder(deadlines, outbox, self.slots, self.tasks)
        target = Target(self.upstream_host, self.upstream.port)
        spec = Upstream(
            "up",
            (target,),
            self.timeouts,
            max_connections=self.max_connections,
            max_waiting=self.max_waiting,
            keepalive=self.keepalive,
        )
        route = Route("all", "/**", frozenset(), frozenset(), spec, frozenset(), {}, **self.route)
        routes: tuple[Route, ...] = (route,)
        if self.closed:
            closed = replace(route, name="closed", path=f"{self.closed}/**", requires=frozenset(("premium",)))
            routes = (closed, route)
        table = RoutingTable(PolicySet("", {"up": spec}, {}, {}, routes), portal_url="")
        stages = cast("Any", Stages(self, table))
        overload = Overload(Bounds(), self.slots, SystemClock(), lambda: 0, lambda: None)
        pipeline = Pipeline(
            stages,
            stages,
            stages,
            stages,
            self._forwarder,
            overload=overload,
            max_body_bytes=self.max_body_bytes,
        )
        server = self.server = DataplaneServer(
            pipeline.handle, self.waits, deadlines, outbox, self.slots, trust=self.trust, tls=self.tls
        )
        listening = socket.create_server((self.host, 0))
        self.port = listening.getsockname()[1]
        self._listeners = Listeners([[listening]], server)
        await self._listeners.attend(0)
        self._listening = listening

    async def stop(self) -> None:
        await self.drain(0)
        if self._listening is not None:
            self._listening.close()
        await close_all(self._writers)
        self._forwarder.close()
        await self.tasks.close()
        async with asyncio.timeout(10):
            while self.slots.get("upstream_connections"):
                await asyncio.sleep(0)

    @property
    def connection(self) -> Connection:
        """The client connection that is open."""
        (only,) = self.server._open
        return only

    @property
    def pools(self) -> list[Pool]:
        """The connections to the upstream."""
        return [pool for group in self._forwarder._groups.values() for pool in group.pools]

    async def drain(self, timeout_s: float = 5) -> None:
        """As a worker does that is asked to stop."""
        if self._listeners is not None:
            self._listeners.leave_all()
            await self.server.drain(timeout_s)

    async def ended(self, count: int) -> list[Exchange]:
        """The exchanges, once there are `count` of them."""
        async with asyncio.timeout(10):
            while len(self.exchanges) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.exchanges

    async def outcome(self) -> Outcome | None:
        return (await self.ended(1))[0].outcome

    async def connect(self, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self.host, self.port, **tls)
        self._writers.append(writer)
        return reader, writer

    async def connect_as_asked(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """With all that this port wants before HTTP begins."""
        reader, writer = await self.connect(**options)
        writer.write(self.preamble)
        if self.client_tls is not None:
            self._writers.remove(writer)  # one that fails here would never hear of its end
            await writer.start_tls(self.client_tls, server_hostname="localhost")
            self._writers.append(writer)
        return reader, writer

    async def exchange(self, raw: bytes, **options: Any) -> bytes:
        """Send these bytes and everything that comes back until the gateway closes."""
        reader, writer = await self.connect(**options)
        writer.write(raw)
        async with asyncio.timeout(10):
            answer = await reader.read(-1)
        writer.close()
        return answer


MakeProxy = Callable[..., Awaitable[Proxy]]


@pytest.fixture
def upstream_type() -> type[ScriptedUpstream]:
    """For folders with an upstream of their own."""
    return ScriptedUpstream


@pytest.fixture
async def upstream(upstream_type: type[ScriptedUpstream]) -> AsyncIterator[ScriptedUpstream]:
    scripted = upstream_type()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def make_proxy(upstream: ScriptedUpstream) -> AsyncIterator[MakeProxy]:
    made: list[Proxy] = []

    async def make(**options: object) -> Proxy:
        proxy = Proxy(upstream, **options)  # type: ignore[arg-type]  # the fields of Proxy
        await proxy.start()
        made.append(proxy)
        return proxy

    yield make
    for proxy in made:
        await proxy.stop()


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    return await make_proxy()

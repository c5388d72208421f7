"""A gateway in front of several scripted upstreams, with real sockets."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.dataplane.listening import Listeners
from gateway.dataplane.refusal import refuse
from gateway.dataplane.server import DataplaneServer
from gateway.dataplane.waits import Waits
from gateway.deadlines import Deadlines
from gateway.errors import GatewayError
from gateway.model.exchange import Exchange
from gateway.model.policies import Route, Target, Upstream
from gateway.model.principal import Mode, Principal
from gateway.outbox import Outbox
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.forwarder import Forwarder
from tests.loops import pytest_asyncio_loop_factories  # noqa: F401  a hook of this folder

CERTS = Path(__file__).parent / "certs"
GET = b"GET /a HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Script = Callable[[Reader, Writer], Awaitable[None]]


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def server_context(*, cert: str = "server", ask_for_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / f"{cert}.pem", CERTS / f"{cert}.key")
    if ask_for_client:
        context.load_verify_locations(CERTS / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class ScriptedTarget:
    """A server that answers with its name, or does what the test's script says. Keeps what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.script: Script = self.answer_with_name
        self.heads: list[bytes] = []
        self.connections = 0
        self.changed = asyncio.Event()
        self.target = Target("127.0.0.1", 0)
        self._writers: set[Writer] = set()
        self._server: asyncio.Server | None = None

    async def start(self, *, tls: ssl.SSLContext | None = None, socket: Path | None = None) -> None:
        if socket is not None:
            self._server = await asyncio.start_unix_server(self._serve, socket)
            self.target = Target("localhost", 80, socket=str(socket))
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.target.port, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        self.target = Target("127.0.0.1", port, tls=tls is not None)

    async def stop(self) -> None:
        """Close everything; a later `start` listens on the same port."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        async with asyncio.timeout(10):
            while self._writers:
                await asyncio.sleep(0)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self.script(reader, writer)
        except RuntimeError:
            if not writer.transport.is_closing():  # uvloop refuses to write to one that is closed
                raise
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            self._writers.discard(writer)

    async def head(self, reader: Reader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        self.changed.set()
        length = [int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        if length:
            await reader.readexactly(length[0])
        return head

    async def answer_with_name(self, reader: Reader, writer: Writer) -> None:
        while True:
            await self.head(reader)
            self.answer(writer)

    def answer(self, writer: Writer) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.name), self.name.encode())
        )

    async def asked(self, count: int) -> None:
        """Until that many requests have come."""
        async with asyncio.timeout(10):
            while len(self.heads) < count:
                self.changed.clear()
                await self.changed.wait()


class Gateway:
    """The data plane in front of one upstream. `X-Account` says who calls."""

    def __init__(self, spec: Upstream, route: Route | None = None) -> None:
        self.spec = spec
        self.route = route or Route("all", "/**", frozenset(), frozenset(), spec, frozenset(), {})
        self.slots = Slots.in_memory()
        self.exchanges: list[Exchange] = []
        self.errors: list[GatewayError] = []
        self.port = 0
        self._tasks = Tasks()
        self._listening: socket.socket
        self._listeners: Listeners
        self._server: DataplaneServer
        self._writers: list[Writer] = []

    async def start(self) -> None:
        outbox, deadlines = Outbox(asyncio.get_running_loop()), Deadlines()
        self.forwarder = Forwarder(deadlines, outbox, self.slots, self._tasks)
        self.forwarder.adopt({self.spec.name: self.spec})
        self.route = replace(self.route, upstream=self.spec)
        numbers = itertools.count(1)

        async def handle(exchange: Exchange) -> None:
            exchange.request_id = b"00000000-0000-8000-8000-%012x" % next(numbers)
            exchange.principal = self._principal(exchange)
            try:
                if exchange.broken is not None:
                    raise exchange.broken
                exchange.route = self.route
                await self.forwarder.forward(exchange)
            except GatewayError as error:
                self.errors.append(error)
                refuse(exchange, error)
            finally:
                self.exchanges.append(exchange)

        server = DataplaneServer(handle, Waits(), deadlines, outbox, self.slots)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._server, self._listeners = server, Listeners([[self._listening]], server)
        await self._listeners.attend(0)

    @staticmethod
    def _principal(exchange: Exchange) -> Principal | None:
        lines = b"".join(exchange.head.lines).split(b"\r\n")
        account = next((line[11:].decode() for line in lines if line.startswith(b"X-Account: ")), None)
        return Principal(1, account, 1, "key_1", "free", Mode.LIVE, b"") if account else None

    async def drain(self, timeout_s: float = 5) -> None:
        """As a worker does that is asked to stop."""
        self._listeners.leave_all()
        await self._server.drain(timeout_s)

    async def stop(self) -> None:
        await self.drain(0)
        self._listening.close()
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        self.forwarder.close()
        await self._tasks.close()
        async with asyncio.timeout(10):
            while self.slots.get("upstream_connections"):
                await asyncio.sleep(0)

    async def connect(self) -> tuple[Reader, Writer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def call(self, raw: bytes = GET, account: str = "") -> bytes:
        """Send these bytes; everything that comes back until the gateway closes."""
        reader, writer = await self.connect()
        writer.write(raw.replace(b"\r\n", b"\r\nX-Account: %b\r\n" % account.encode(), 1) if account else raw)
        async with asyncio.timeout(10):
            return await reader.read(-1)

    async def names(self, count: int, account: str = "") -> list[str]:
        """Which target answers each of that many calls, one after the other."""
        return [body_of(await self.call(account=account)).decode() for _ in range(count)]


MakeTarget = Callable[..., Awaitable[ScriptedTarget]]
MakeGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def make_target() -> AsyncIterator[MakeTarget]:
    made: list[ScriptedTarget] = []

    async def make(
        name: str = "a", *, tls: ssl.SSLContext | None = None, socket: Path | None = None
    ) -> ScriptedTarget:
        target = ScriptedTarget(name)
        await target.start(tls=tls, socket=socket)
        made.append(target)
        return target

    yield make
    for target in made:
        await target.stop()


@pytest.fixture
async def make_gateway() -> AsyncIterator[MakeGateway]:
    made: list[Gateway] = []

    async def make(
        *targets: Target | ScriptedTarget, route: Route | None = None, **options: object
    ) -> Gateway:
        places = tuple(one.target if isinstance(one, ScriptedTarget) else one for one in targets)
        gateway = Gateway(Upstream("up", places, **options), route)  # type: ignore[arg-type]  # its fields
        await gateway.start()
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        await gateway.stop()


@pytest.fixture
def nobody_listens() -> Target:
    """A target that refuses every connection."""
    return Target("127.0.0.1", 1)

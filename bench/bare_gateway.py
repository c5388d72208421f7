"""The data plane without sockets, Postgres and Redis: stand-ins at its edges, everything else as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import uvloop
from httptools import HttpRequestParser

from bench.candidate import Candidate, request_bytes
from bench.upstream import BODY
from gateway.accounts.keys import mint
from gateway.accounts.records import FoundKey
from gateway.admission.admitter import Admitter
from gateway.admission.memory_store import MemoryStore
from gateway.auth.authenticator import Authenticator
from gateway.clock import SystemClock
from gateway.dataplane.connection import Connection
from gateway.dataplane.head import HeadReader
from gateway.dataplane.overload import Bounds, Overload
from gateway.dataplane.pipeline import Pipeline
from gateway.dataplane.server import DataplaneServer
from gateway.dataplane.waits import Waits
from gateway.deadlines import Deadlines
from gateway.journal.writer import JournalWriter
from gateway.metering.meter import Meter
from gateway.metering.request_ids import RequestIds
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.policies import Target, Upstream
from gateway.model.principal import Mode, Principal
from gateway.outbox import Outbox
from gateway.policy.load import load_folder
from gateway.routing.table import RoutingTable
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.forwarder import Forwarder

POLICIES = Path(__file__).parent / "policies" / "plentiful"
SECRET = mint("tw", Mode.LIVE).secret
REQUEST = request_bytes(Candidate("tollway", 8080, (), key=SECRET))
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n"
    b'Cache-Control: private, max-age=0\r\nETag: "33a64df551425fcc"\r\nVary: Accept-Encoding\r\n'
    b"X-Content-Type-Options: nosniff\r\nX-Request-Cost: 1\r\n\r\n%b" % (len(BODY), BODY.encode())
)


class Ticks:
    """As much of a loop as an outbox needs; a tick ends when it is told to."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], object]] = []
        self.loop = cast("asyncio.AbstractEventLoop", self)

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """As asyncio's, without a handle."""
        self._soon.append(partial(callback, *args))

    def end(self) -> None:
        """Run what was to run soon."""
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()

    def forget(self) -> None:
        """What was to run soon never does."""
        self._soon.clear()


class Nowhere:
    """An outbox whose letters are thrown away."""

    def __init__(self) -> None:
        self._ticks = Ticks()
        self.outbox = Outbox(self._ticks.loop)

    def empty(self) -> None:
        """Throw away what was written."""
        self.outbox._pending.clear()
        self._ticks.forget()


class StandIn(asyncio.Transport):
    """A transport whose peer is a function of the bytes written."""

    def __init__(self, peer: Callable[[bytes], None]) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000)})
        self._peer = peer

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._peer(bytes(data))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        """There is nothing to close."""

    abort = pause_reading = resume_reading = write_eof = close


class _Caller:
    """A `Downstream` that wants nothing."""

    close_after_answer = False

    def answer(self, status: int, reason: bytes, lines: list[bytes], length: int | None) -> None:
        """Heard."""

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        """Heard."""

    def switch(self, reason: bytes, lines: list[bytes]) -> None:
        """Heard."""

    def body(self, data: bytes) -> None:
        """Heard."""

    def flush(self) -> None:
        """Heard."""

    def hang_up(self, farewell: bytes) -> None:
        """Heard."""

    complete = abort = end_tunnel = pause_upload = resume_upload = flush


NOBODY = _Caller()


class _Pool:
    """An `Owner` of one connection."""

    def __init__(self) -> None:
        self.target = Target("127.0.0.1", 9100)
        self.spec = Upstream("origin", (self.target,))
        self.host_line = b"Host: 127.0.0.1:9100\r\n"
        self.troubled = False

    def opened(self, connection: UpstreamConnection) -> None:
        """Kept nowhere."""

    release = lost = opened

    def call_failed(self, why: str) -> None:
        """Not here."""

    frames_refused = call_failed

    def call_went_well(self) -> None:
        """As always."""


def upstream_connection(outbox: Outbox) -> UpstreamConnection:
    """One to a stand-in that answers whatever the outbox brings it."""
    connection = UpstreamConnection(_Pool(), outbox)
    connection.connection_made(StandIn(lambda _: connection.data_received(ANSWER)))
    return connection


class BareLoop(uvloop.Loop):
    """A loop on which every new connection leads to an upstream that answers at once."""

    async def create_connection(  # type: ignore[override]  # only what the pool asks for
        self, protocol_factory: Callable[[], asyncio.Protocol], *_: Any, **__: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = protocol_factory()
        transport = StandIn(lambda _: protocol.data_received(ANSWER))
        protocol.connection_made(transport)
        return transport, protocol


class Unmetered:
    """Names calls and records nothing of them: what is left is what a call costs without being booked."""

    def __init__(
        self, writer: JournalWriter, slots: Slots, clock: SystemClock, request_ids: RequestIds
    ) -> None:
        self._meter = Meter(writer, slots, clock, request_ids)
        self.identify, self.close = self._meter.identify, self._meter.close

    def begin(self, exchange: Exchange) -> None:
        """Nothing."""

    end = begin


class BareGateway:
    """All stages of a worker, wired as `gateway.app.worker` does it, with counters in memory."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, folder: Path, meter: type[Meter | Unmetered] = Meter
    ) -> None:
        policies = load_folder(POLICIES).policies
        assert policies is not None, "the bench policies load"
        self.table = RoutingTable(policies, portal_url="http://127.0.0.1:8091")
        slots, clock, self.tasks = Slots.open(folder / "slots"), SystemClock(), Tasks()
        self.auth = Authenticator(_nobody, slots, clock, self.tasks, "tw")
        identity = b"Tollway-Account: acct_0123456789abcdef\r\nTollway-Tier: plentiful\r\n"
        principal = Principal(1, "acct_0123456789abcdef", 1, "key_1", "plentiful", Mode.LIVE, identity)
        self.auth.cache.put(sha256(SECRET.encode()).digest(), principal, clock.monotonic_us(), active=True)
        self.admission = Admitter(MemoryStore(clock), slots, clock, self.tasks, "bench")
        ids = RequestIds.make(clock.now_us())
        journal = JournalWriter(folder / "journals", prefix=ids.prefix, clock=clock, name="bench")
        self.meter = meter(journal, slots, clock, ids)
        deadlines, outbox = Deadlines(), Outbox(loop)
        self._upstream = Forwarder(deadlines, outbox, slots, self.tasks)
        overload = Overload(Bounds(), slots, clock, lambda: 0, lambda: None)
        pipeline = Pipeline(self, self.auth, self.admission, self.meter, self._upstream, overload=overload)
        self._server = DataplaneServer(pipeline.handle, Waits(), deadlines, outbox, slots)
        self._answers = 0

    def current(self) -> RoutingTable:
        """The one snapshot there is."""
        return self.table

    def exchange(self) -> Exchange:
        """One call, its head read, nothing decided yet."""
        parsing = Parsing()
        parsing.parser.feed_data(REQUEST)
        assert parsing.head is not None, "the whole head was fed"
        exchange = Exchange(
            parsing.head,
            NOBODY,
            b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\n",
        )
        exchange.body_done = True
        return exchange

    async def warm(self, exchange: Exchange) -> None:
        """Take the call through the stages before the upstream once."""
        self.meter.identify(exchange)
        exchange.route = self.table.match(exchange.head)
        exchange.principal = await self.auth.authenticate(exchange)
        exchange.grant = await self.admission.admit(
            exchange.principal, self.table.charges(exchange), exchange
        )

    def connect(self) -> Connection:
        """A caller's connection."""
        connection = self._server.connection()
        connection.connection_made(StandIn(self._answered))
        return connection

    def _answered(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200 OK\r\n"), data[:40]
        self._answers += 1

    async def serve(self, connections: list[Connection]) -> None:
        """One call on each connection, all of them answered."""
        self._answers = 0
        for connection in connections:
            connection.data_received(REQUEST)
        for _ in range(1000):
            if self._answers == len(connections):
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{self._answers} of {len(connections)} calls were answered")

    async def close(self) -> None:
        """End what runs."""
        await self.admission.close()
        self._upstream.close()
        self.meter.close()
        await self.tasks.close()


class Parsing:
    """What `Connection` does with a head, without the rest."""

    def __init__(self) -> None:
        self._reader = HeadReader()
        self.on_url = self._reader.url
        self.on_header = self._reader.header
        self.parser = HttpRequestParser(self)
        self.head: RequestHead | None = None

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        parser = self.parser
        self.head = self._reader.finish(
            parser.get_method(), keep_alive=parser.should_keep_alive(), version=parser.get_http_version
        )


async def _nobody(digest: bytes) -> FoundKey | None:
    """No key is looked up: the one there is was remembered before."""
    raise AssertionError(f"looked up {digest.hex()}")

"""Calls to upstreams without sockets: connections are made, answered and closed when the test says so."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.deadlines import Deadlines
from gateway.errors import ClientGone, GatewayError, UpstreamUnreachable
from gateway.inline import drive
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.policies import Route, Target, Upstream
from gateway.outbox import Outbox
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dialling import Dialler
from gateway.upstream.forwarder import Forwarder
from gateway.upstream.group import Group
from gateway.upstream.pool import Pool

A, B = Target("a", 80), Target("b", 80)


class Wire(asyncio.Transport):
    """The upstream's end of a connection."""

    def __init__(self, target: Target, protocol: UpstreamConnection) -> None:
        super().__init__()
        self.target = target
        self.protocol = protocol
        self.written = b""
        self.asked = 0  # requests that were sent over it
        self.closed = False
        self.stuck_bytes = 0  # written, and not taken by the kernel
        self.address = ""  # that it leads to

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.address, 80) if self.address and name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return self.stuck_bytes

    def write(self, data: Any) -> None:
        assert not self.closed, "nothing is written to what is closed"
        self.written += data
        self.asked += bytes(data).count(b" HTTP/1.1\r\n")

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """There is nobody to stop."""

    resume_reading = pause_reading

    def answer(self) -> None:
        """Answer the call at hand with what was asked for."""
        path = self.written.rpartition(b" HTTP/1.1\r\n")[0].rpartition(b" ")[2]
        self.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))


class Dial:
    """One connection that is being made."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def refuse(self) -> None:
        self.result.set_exception(UpstreamUnreachable(internal="connect: refused"))


class Caller:
    """A call and what becomes of it: a `Downstream` that notes everything."""

    def __init__(self, number: int, method: str, body: bytes) -> None:
        head = RequestHead()
        head.method, head.method_bytes = method, method.encode()
        head.path, head.target = f"/{number}", b"/%d" % number
        head.content_length = len(body) or None
        self.number = number
        self.exchange = Exchange(head, self, b"")
        self.exchange.body_parts = [body] if body else []
        self.exchange.body_done = True
        self.close_after_answer = False
        self.got = b""
        self.ends = 0
        self.error: BaseException | None = None

    @property
    def waits(self) -> bool:
        return not self.ends

    def leave(self) -> None:
        """Hang up, as the data plane's connection does."""
        exchange = self.exchange
        exchange.broken = gone = ClientGone()
        if exchange.uplink is not None:
            exchange.uplink.cancel()
            exchange.uplink = None
            exchange.finished.fail(gone)

    def ended(self, error: BaseException | None) -> None:
        self.ends += 1
        self.error = error

    # -- Downstream -------------------------------------------------------------------------------------

    def answer(self, status: int, reason: bytes, lines: list[bytes], length: int | None) -> None:
        self.exchange.status = status

    def body(self, data: bytes) -> None:
        self.got += data

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        """Not here."""

    def switch(self, reason: bytes, lines: list[bytes]) -> None:
        """Not here."""

    def hang_up(self, farewell: bytes) -> None:
        """Not here."""

    def flush(self) -> None:
        """Noted already."""

    complete = abort = end_tunnel = pause_upload = resume_upload = flush


class Rig:
    """A forwarder whose upstream `up` is in the test's hands."""

    def __init__(self, *targets: Target, max_connections: int = 1, **options: Any) -> None:
        self.spec = Upstream("up", targets or (A,), max_connections=max_connections, **options)
        self.slots, self.deadlines, self.tasks = Slots.in_memory(), Deadlines(), Tasks()
        self.forwarder = Forwarder(self.deadlines, Outbox(asyncio.get_running_loop()), self.slots, self.tasks)
        self.adopt(self.spec)
        self.route = Route("all", "/**", frozenset(), frozenset(), self.spec, frozenset(), {})
        self.callers: list[Caller] = []
        self.wires: list[Wire] = []
        self.dials: list[Dial] = []
        self.connects_at_once = True
        self.closes_at_once = False
        self._numbers = itertools.count(1)

    def adopt(self, *specs: Upstream) -> None:
        """A reload."""
        self.forwarder.adopt({spec.name: spec for spec in specs})

    async def dial(
        self, dialler: Dialler, make: Callable[[], UpstreamConnection], _timeout_s: float
    ) -> UpstreamConnection:
        """Instead of `Dialler.dial`."""
        dial = Dial(dialler._target)
        self.dials.append(dial)
        if self.connects_at_once:
            dial.result.set_result(None)
        try:
            await dial.result
        finally:
            self.dials.remove(dial)
        protocol = make()
        wire = Wire(dialler._target, protocol)
        protocol.connection_made(wire)
        self.wires.append(wire)
        if self.closes_at_once:
            wire.close()
        return protocol

    def begin(
        self, method: str = "GET", body: bytes = b"", *, is_whole: bool = True, **timeouts: float | None
    ) -> Caller:
        """A call, as far as it goes in this tick."""
        caller = Caller(next(self._numbers), method, body)
        caller.exchange.body_done = is_whole
        self.callers.append(caller)
        waits = replace(self.spec.timeouts, **timeouts) if timeouts else None  # type: ignore[arg-type]  # its fields
        caller.exchange.route = replace(self.route, timeouts=waits)
        drive(self.forwarder.forward(caller.exchange), caller.ended)
        return caller

    async def call(self, **options: Any) -> Caller:
        """A call, until it is sent or waits."""
        caller = self.begin(**options)
        await self.settle()
        return caller

    async def settle(self) -> None:
        """Until nothing moves by itself."""
        for _ in range(12):
            await asyncio.sleep(0)

    @property
    def group(self) -> Group:
        return self.forwarder._groups["up"]

    @property
    def pools(self) -> list[Pool]:
        return self.group.pools

    @property
    def open(self) -> list[Wire]:
        return [wire for wire in self.wires if not wire.closed]

    def wire_of(self, caller: Caller) -> Wire:
        """Where a call is at hand."""
        (wire,) = [wire for wire in self.open if wire.protocol._exchange is caller.exchange]
        return wire

    async def answer(self, caller: Caller) -> None:
        self.wire_of(caller).answer()
        await self.settle()

    @property
    def order(self) -> list[int]:
        """Calls in the order they were sent."""
        lines = b"".join(wire.written for wire in self.wires).split(b"\r\n")
        return [int(line.split(b" ")[1][1:]) for line in lines if line.endswith(b" HTTP/1.1")]

    @property
    def waiting(self) -> int:
        return self.slots.get("upstream_waiting")

    def waits(self) -> Mapping[str, int]:
        """How waits ended, without what never happened."""
        results = ("connected", "failed", "full", "late", "left")
        counts = {result: self.slots.get("upstream_waits_total", result) for result in results}
        return {result: count for result, count in counts.items() if count}

    def check_nothing_is_left(self) -> None:
        """Every call has ended once; no count, hold or registration outlives them."""
        assert [caller.number for caller in self.callers if caller.ends != 1] == []
        for caller in self.callers:
            if caller.error is None:
                assert caller.got == caller.exchange.head.target, "its own answer"
            assert caller.error is None or isinstance(caller.error, GatewayError)
        assert self.waiting == 0
        for pool in self.pools:
            assert pool._opening == 0
            assert pool.in_use == 0
            assert (pool._held, pool._is_held, pool._keeps) == ([], False, pool._max_idle)
            assert len(pool._connections) <= pool.spec.max_connections
        assert self.slots.get("upstream_connections") == len(self.open)
        assert not self.group.queue._waiting
        assert not self.group.queue._connecting

    async def close(self) -> None:
        self.forwarder.close()
        await self.tasks.close()
        for wire in self.wires:
            wire.close()
        await self.settle()
        assert self.slots.get("upstream_connections") == 0


class Rigs:
    """Makes them and cleans up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Rig] = []
        monkeypatch.setattr(
            Dialler, "dial", lambda dialler, make, timeout_s: self.made[-1].dial(dialler, make, timeout_s)
        )

    def __call__(self, *targets: Target, **options: Any) -> Rig:
        self.made.append(Rig(*targets, **options))
        return self.made[-1]

"""What each stage of a call costs in this process alone: no sockets, no other process, best of N."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from uvloop import Loop

from bench.bare_gateway import (
    REQUEST,
    BareGateway,
    BareLoop,
    Nowhere,
    Parsing,
    StandIn,
    Ticks,
    upstream_connection,
)
from bench.report import markdown, row
from gateway.dataplane.answering import AnsweringProtocol
from gateway.model.exchange import Exchange
from gateway.outbox import Outbox
from gateway.outcomes import Outcome
from gateway.routing.path import canonical_path

NAME = "stages"
ROUNDS = 7
BATCH_S = 0.05
"""How long one stage runs each time."""
CONNECTIONS = 64
HEAD = ("stage", "us per call")

Step = Callable[[], object]


def run(rounds: int, *, batch_s: float = BATCH_S) -> str:
    """Markdown: each stage, then the whole way of a call with stand-ins for both transports."""
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        loop = BareLoop()
        try:
            rows = loop.run_until_complete(_measure_all(loop, Path(folder), rounds, batch_s))
        finally:
            loop.close()
    method = (
        f"Best of {rounds}; the same call as above, key and lease known. Loop and transports are stand-ins."
    )
    table = markdown(HEAD, [row(name, f"{cost_us:.2f}") for name, cost_us in rows])
    return f"### Stages in isolation\n\n{method}\n\n{table}"


async def _measure_all(loop: Loop, folder: Path, rounds: int, batch_s: float) -> list[tuple[str, float]]:
    gateway = BareGateway(loop, folder)
    try:
        exchange = gateway.exchange()
        await gateway.warm(exchange)
        rows = [(name, _best(step, rounds, batch_s)) for name, step in _stages(gateway, exchange).items()]
        rows.append(("the whole call, as the data plane runs it", await _whole(gateway, rounds, batch_s * 4)))
    finally:
        await gateway.close()
    return rows


def _stages(gateway: BareGateway, exchange: Exchange) -> dict[str, Step]:
    """Plain functions that can be called again and again, in the order of a call."""
    head, table = exchange.head, gateway.table
    parsing = Parsing()
    principal, plan = exchange.principal, exchange.charges
    assert principal is not None, "warmed"
    assert plan is not None, "warmed"

    def meter() -> None:
        gateway.meter.identify(exchange)
        gateway.meter.begin(exchange)
        exchange.outcome, exchange.status = Outcome.SERVED, 200
        gateway.meter.end(exchange)

    return {
        "parse the head (parser and checks)": lambda: parsing.parser.feed_data(REQUEST),
        "canonical path, plain": lambda: canonical_path(b"/api/v1/projects"),
        "canonical path, escapes and dots": lambda: canonical_path(b"/api/./v1/%70rojects/../projects"),
        "match a route": lambda: table.match(head),
        "authenticate, key known": lambda: _step(gateway.auth.authenticate(exchange)),
        "what the call pays": lambda: table.charges(exchange),
        "admit, from a lease": lambda: _step(gateway.admission.admit(principal, plan)),
        "begin and end (journal, metrics)": meter,
        "build the upstream request": _upstream_request(exchange),
        "the same, and read its answer": _upstream_call(exchange),
        "build the answer": _answer(exchange),
    }


def _upstream_request(exchange: Exchange) -> Step:
    connection = upstream_connection(Nowhere())
    return lambda: connection.start(exchange)


def _upstream_call(exchange: Exchange) -> Step:
    ticks = Ticks()
    connection = upstream_connection(Outbox(ticks.loop))

    def call() -> None:
        exchange.outcome = None
        connection.start(exchange)
        ticks.end()
        assert exchange.outcome is Outcome.SERVED, "the answer was taken"

    return call


def _answer(exchange: Exchange) -> Step:
    protocol = AnsweringProtocol(Nowhere())
    protocol.exchange = exchange
    protocol.transport = StandIn(lambda _: None)
    lines = [b"Content-Type", b": ", b"application/json", b"\r\n"] * 8

    def build() -> None:
        protocol.answer(200, b"OK", lines, 84)
        protocol.body(b"x" * 84)
        protocol.complete()

    return build


def _step(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that does not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a stage had to wait; it is not warm")


def _best(step: Step, rounds: int, batch_s: float) -> float:
    """Microseconds of one call, at best."""
    step()
    number, took = 100, 0.0
    while (took := _timed(step, number)) < batch_s / 4:
        number *= 2
    number = max(number, int(number * batch_s / took))
    return min(_timed(step, number) for _ in range(rounds)) / number * 1e6


def _timed(step: Step, number: int) -> float:
    gc.collect()
    began = time.process_time()
    for _ in range(number):
        step()
    return time.process_time() - began


async def _whole(gateway: BareGateway, rounds: int, batch_s: float) -> float:
    """Microseconds of one call when `CONNECTIONS` calls arrive in each tick of the loop."""
    connections = [gateway.connect() for _ in range(CONNECTIONS)]
    await gateway.serve(connections)
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        calls, began = 0, time.process_time()
        while (took := time.process_time() - began) < batch_s:
            await gateway.serve(connections)
            calls += len(connections)
        best = min(best, took / calls * 1e6)
    for connection in connections:
        connection.connection_lost(None)
    await asyncio.sleep(0)
    return best

"""What each stage of a call costs in this process alone: no sockets, no other process.

The timing is pytest-benchmark's (`bench/test_stages.py`); this is what is timed, and its table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.bare_gateway import (
    REQUEST,
    BareGateway,
    Nowhere,
    Parsing,
    StandIn,
    Ticks,
    upstream_connection,
)
from bench.machine import BenchError
from bench.report import markdown, row
from gateway.dataplane.answering import AnsweringProtocol
from gateway.dataplane.repeat import Repeats
from gateway.model.exchange import Exchange
from gateway.outbox import Outbox
from gateway.outcomes import Outcome
from gateway.routing.path import canonical_path

NAME = "stages"
TESTS = Path(__file__).parent / "test_stages.py"
HEAD = ("stage", "us per call")

Step = Callable[[], object]
Stage = Callable[[BareGateway, Exchange], Step]
"""Makes a step that can be taken again and again, from a call that has come as far as admission."""


def run() -> str:
    """Markdown: each stage, then the whole way of a call with stand-ins for both transports."""
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        figures = Path(folder) / "figures.json"
        options = ("--benchmark-enable", "--benchmark-disable-gc", f"--benchmark-json={figures}")
        command = [sys.executable, "-m", "pytest", str(TESTS), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"a stage could not be measured:\n{done.stdout}{done.stderr}")
        return read_figures(figures.read_text())


def read_figures(text: str) -> str:
    """The table in what pytest-benchmark wrote."""
    rows = [
        row(one["name"], f"{one['stats']['min'] * 1e6 / one['extra_info'].get('calls', 1):.2f}")
        for one in json.loads(text)["benchmarks"]
    ]
    method = (
        "The shortest time; the same call as above, key and lease known. Loop and transports are stand-ins."
    )
    return f"### Stages in isolation\n\n{method}\n\n{markdown(HEAD, rows)}"


def _parse(_gateway: BareGateway, _exchange: Exchange) -> Step:
    parsing = Parsing()
    return lambda: parsing.parser.feed_data(REQUEST)


def _recognise(_gateway: BareGateway, exchange: Exchange) -> Step:
    repeats = Repeats()
    repeats.remember(REQUEST, exchange.head)
    assert repeats.recognise(REQUEST) is not None, "an ordinary head"
    return lambda: repeats.recognise(REQUEST)


def _path(raw: bytes) -> Stage:
    return lambda _gateway, _exchange: lambda: canonical_path(raw)


def _match(gateway: BareGateway, exchange: Exchange) -> Step:
    return lambda: gateway.table.match(exchange.head)


def _authenticate(gateway: BareGateway, exchange: Exchange) -> Step:
    return lambda: _step(gateway.auth.authenticate(exchange))


def _charges(gateway: BareGateway, exchange: Exchange) -> Step:
    return lambda: gateway.table.charges(exchange)


def _admit(gateway: BareGateway, exchange: Exchange) -> Step:
    principal, plan = exchange.principal, exchange.charges
    assert principal is not None, "warmed"
    assert plan is not None, "warmed"
    return lambda: _step(gateway.admission.admit(principal, plan, exchange))


def _meter(gateway: BareGateway, exchange: Exchange) -> Step:
    def meter() -> None:
        gateway.meter.identify(exchange)
        gateway.meter.begin(exchange)
        exchange.outcome, exchange.status = Outcome.SERVED, 200
        gateway.meter.end(exchange)

    return meter


def _upstream_request(_gateway: BareGateway, exchange: Exchange) -> Step:
    nowhere = Nowhere()
    connection = upstream_connection(nowhere.outbox)

    def build() -> None:
        connection.start(exchange)
        nowhere.empty()

    return build


def _upstream_call(_gateway: BareGateway, exchange: Exchange) -> Step:
    ticks = Ticks()
    connection = upstream_connection(Outbox(ticks.loop))

    def call() -> None:
        exchange.outcome = None
        connection.start(exchange)
        ticks.end()
        assert exchange.outcome is Outcome.SERVED, "the answer was taken"

    return call


def _answer(_gateway: BareGateway, exchange: Exchange) -> Step:
    nowhere = Nowhere()
    protocol = AnsweringProtocol(nowhere.outbox)
    protocol.exchange = exchange
    protocol.transport = StandIn(lambda _: None)
    lines = [b"Content-Type", b": ", b"application/json", b"\r\n"] * 8

    def build() -> None:
        protocol.answer(200, b"OK", lines, 84)
        protocol.body(b"x" * 84)
        protocol.complete()
        nowhere.empty()

    return build


def _step(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that does not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a stage had to wait; it is not warm")


STAGES: dict[str, Stage] = {
    "parse the head (parser and checks)": _parse,
    "recognise a head like the one before": _recognise,
    "canonical path, plain": _path(b"/api/v1/projects"),
    "canonical path, escapes and dots": _path(b"/api/./v1/%70rojects/../projects"),
    "match a route": _match,
    "authenticate, key known": _authenticate,
    "what the call pays": _charges,
    "admit, from a lease": _admit,
    "begin and end (journal, metrics)": _meter,
    "build the upstream request": _upstream_request,
    "the same, and read its answer": _upstream_call,
    "build the answer": _answer,
}
"""In the order of a call."""
WHOLE = "the whole call, as the data plane runs it"
UNMETERED = "the same, recorded nowhere"

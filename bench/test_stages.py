"""Times every stage of a call. Without `--benchmark-enable` each runs once: do the stand-ins still fit?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.bare_gateway import BareGateway, BareLoop, Unmetered
from bench.stages import STAGES, UNMETERED, WHOLE
from gateway.dataplane.connection import Connection
from gateway.metering.meter import Meter

CONNECTIONS = 64


@pytest.fixture
def bare_loop() -> Iterator[BareLoop]:
    loop = BareLoop()
    yield loop
    loop.close()


@pytest.fixture
def meter() -> type[Meter | Unmetered]:
    return Meter


@pytest.fixture
def gateway(bare_loop: BareLoop, tmp_path: Path, meter: type[Meter | Unmetered]) -> Iterator[BareGateway]:
    async def make() -> BareGateway:
        return BareGateway(bare_loop, tmp_path, meter)

    gateway = bare_loop.run_until_complete(make())
    yield gateway
    bare_loop.run_until_complete(gateway.close())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage(bare_loop: BareLoop, gateway: BareGateway, benchmark: BenchmarkFixture, stage: str) -> None:
    async def timed() -> None:  # some stages ask which loop is running
        exchange = gateway.exchange()
        await gateway.warm(exchange)
        benchmark(STAGES[stage](gateway, exchange))

    benchmark.name = stage
    bare_loop.run_until_complete(timed())


@pytest.mark.parametrize(("meter", "name"), [(Meter, WHOLE), (Unmetered, UNMETERED)])
def test_the_whole_call(
    bare_loop: BareLoop, gateway: BareGateway, benchmark: BenchmarkFixture, name: str
) -> None:
    """A call arrives on each of many connections in one tick of the loop."""

    async def connect() -> list[Connection]:
        return [gateway.connect() for _ in range(CONNECTIONS)]

    connections = bare_loop.run_until_complete(connect())
    benchmark.name = name
    benchmark.extra_info["calls"] = CONNECTIONS
    benchmark(lambda: bare_loop.run_until_complete(gateway.serve(connections)))
    for connection in connections:
        connection.connection_lost(None)

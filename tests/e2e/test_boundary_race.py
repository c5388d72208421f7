"""Two gateways of two workers each, eight client processes: of a quota exactly what was sold passes.

`RACE_TIMES=50` repeats the race so often in each mode; by default it is five times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.model.policies import AdmissionMode
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.e2e.conftest import Customer, Gateway, eventually, running
from tests.e2e.load import Upstream, looping

TIMES = int(os.environ.get("RACE_TIMES", "5"))
AMOUNT, CALLS, CLIENTS = 1000, 5000, 8
MODES = [mode.value for mode in AdmissionMode]

POLICIES = """
upstreams:
  plain: {{targets: [http://127.0.0.1:{port}]}}
tiers:
{tiers}
routes:
  - {{name: all, match: {{path: /**}}, upstream: plain}}
"""
TIER = "  {mode}: {{admission: {mode}, quotas: [{{meter: api_calls, amount: {amount}, per: month}}]}}\n"


class Racers:
    """Client processes, half of them at each gateway."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.racer", str(gateways[number % len(gateways)].listen)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(CLIENTS)
        ]

    def race(self, secret: str, calls: int) -> Counter[int]:
        """All together make so many calls; how many got which status."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{secret} {calls // CLIENTS}\n")
            process.stdin.flush()
        statuses: Counter[int] = Counter()
        for process in self._processes:
            assert process.stdout is not None
            counts = json.loads(process.stdout.readline())
            statuses.update({int(status): count for status, count in counts.items()})
        return statuses

    def close(self) -> None:
        for process in self._processes:
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of both gateways: where the servers are that they share."""
    folder = tmp_path_factory.mktemp("stores")
    postgres, redis = EmbeddedPostgres(folder, durable=False), EmbeddedRedis(folder, durable=False)
    try:
        yield {"TOLLWAY_DATABASE_URL": postgres.start(), "TOLLWAY_REDIS_URL": redis.start()}
    finally:
        redis.stop()
        postgres.stop()


@pytest.fixture(scope="module")
def gateways(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    upstream = Upstream()
    with ExitStack() as stack:
        loop = stack.enter_context(looping())
        server = loop.run(upstream.serve())
        stack.callback(lambda: loop.loop.call_soon_threadsafe(server.close))
        tiers = "".join(TIER.format(mode=mode, amount=AMOUNT) for mode in MODES)
        both = []
        for name in ("one", "other"):
            folder = tmp_path_factory.mktemp(name)
            (folder / "policies").mkdir()
            (folder / "policies" / "all.yaml").write_text(POLICIES.format(port=upstream.port, tiers=tiers))
            both.append(stack.enter_context(running(folder, upstream.port, **stores)))
        yield both


@pytest.fixture(scope="module")
def racers(gateways: list[Gateway]) -> Iterator[Racers]:
    started = Racers(gateways)
    yield started
    started.close()


def race_once(racers: Racers, customer: Customer) -> Counter[int]:
    """The race, on until all is sold, as units in leases need moments to come back, and then still on."""
    statuses = racers.race(customer.secret, CALLS)
    while statuses[200] + statuses[503] < AMOUNT:
        statuses += racers.race(customer.secret, CALLS // 10)
    return statuses + racers.race(customer.secret, CALLS // 10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.timeout(60 * max(TIMES, 5))
def test_exactly_the_amount_passes(gateways: list[Gateway], racers: Racers, mode: str) -> None:
    for _ in range(TIMES):
        customer = gateways[0].customer(mode)
        statuses = race_once(racers, customer)
        assert set(statuses) <= {200, 429, 503}
        # A call that Redis did not answer in time is refused with 503 and stays charged.
        assert AMOUNT - statuses[503] <= statuses[200] <= AMOUNT
        expect_booked(customer, statuses[200])


def expect_booked(customer: Customer, calls: int) -> None:
    eventually(lambda: booked(customer) == calls, f"{calls} calls are booked")


def booked(customer: Customer) -> int:
    rows = customer.gateway.admin("GET", f"/usage?account={customer.account}&limit=10000")["data"]
    return sum(row["quantity"] for row in rows if row["meter"] == "api_calls")

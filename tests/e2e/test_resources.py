"""One worker under everything at once: what it holds stays below a ceiling, and does not grow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from bench.machine import own_bytes, peak_bytes, wait_for_port
from bench.mixture import Mixture
from tests.e2e.conftest import Gateway
from tests.e2e.test_operations import worker_pids
from tests.ports import free_port

CEILING_BYTES = 256 << 20
NOISE_BYTES = 24 << 20
"""Between two moments of such a load: what is under way just then, and what the allocator keeps."""

WARM_TURNS = 200
TURNS = 300

POLICIES = """
upstreams:
  streams: {{targets: [http://127.0.0.1:{port}]}}
admission: {{on_store_loss: allow}}  # a machine that is busy with other tests may keep Redis waiting
tiers:
  paid:
    price: {{amount: 0, currency: USD, per: month}}
    limits: [{{name: burst, rate: 100000/second, burst: 100000}}]
routes:
  - {{name: chat, match: {{path: /chat}}, upstream: streams, max_message: 64KiB}}
  - {{name: all, match: {{path: /**}}, upstream: streams}}
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """With one worker, in front of an upstream for long bodies and WebSockets."""
    port = free_port()
    settings = {"TOLLWAY_HEAD_TIMEOUT_S": "1", "TOLLWAY_BODY_TIMEOUT_S": "60"}
    gateway = Gateway(tmp_path, port, settings=settings)
    upstream = subprocess.Popen([sys.executable, "-m", "bench.streams", str(port)])
    try:
        wait_for_port(port)
        gateway.write_policies(POLICIES.format(port=port))
        gateway.start("--workers", "1")
        yield gateway
        assert gateway.stop() == 0, gateway.log
    finally:
        gateway.kill()
        upstream.kill()
        upstream.wait(10)


async def samples(mixture: Mixture, pid: int, turns: int) -> list[int]:
    """What the worker held while so many more turns were taken, several times a second."""
    found, until = [], sum(mixture.turns.values()) + turns
    while sum(mixture.turns.values()) < until:
        found.append(own_bytes(pid))
        await asyncio.sleep(0.1)
    return found


async def test_a_worker_under_everything_at_once_stays_small(gateway: Gateway) -> None:
    paid = await asyncio.to_thread(gateway.customer, "paid")
    (pid,) = worker_pids(gateway)
    mixture = Mixture(gateway.listen, paid.secret)
    everybody = asyncio.create_task(mixture.run())
    await samples(mixture, pid, WARM_TURNS)
    first = await samples(mixture, pid, TURNS)
    then = await samples(mixture, pid, TURNS)
    mixture.is_over = True
    await everybody
    assert mixture.wrong == []
    assert set(mixture.turns) == set(Mixture.KINDS)
    assert peak_bytes(pid) < CEILING_BYTES
    assert median(then) - median(first) < NOISE_BYTES
    assert worker_pids(gateway) == [pid], "it is the same worker"

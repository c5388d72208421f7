"""Several targets of an upstream, as servers that come and go, behind a gateway with two workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from tests.e2e.conftest import Customer, Gateway, eventually

POLICIES = """
upstreams:
  canary: {{targets: [{{url: "{a}", weight: 9}}, "{b}"]}}
  sticky:
    balance: hash_account
    targets: ["{a}", "{b}", "{c}"]
    health: {{path: /, interval: 100ms, timeout: 2s, healthy_after: 1, unhealthy_after: 2}}
  half_dead:
    targets: ["{a}", "{dead}"]
    ejection: {{failures: 1000}}
    retries: {{attempts: 1, percent: 0, at_least: 5}}
admission: {{on_store_loss: allow}}  # a machine that is busy with other tests may keep Redis waiting
tiers: {{paid: {{}}}}
routes:
  - {{name: canary, match: {{path: /canary}}, upstream: canary}}
  - {{name: sticky, match: {{path: /sticky}}, upstream: sticky}}
  - {{name: half-dead, match: {{path: /half-dead}}, upstream: half_dead}}
"""


class Names(BaseHTTPRequestHandler):
    """Answers with the name of its server, and notes who was asked for what."""

    protocol_version = "HTTP/1.1"
    server: Target

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        name = self.server.name.encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    do_POST = do_GET  # noqa: N815  the name that is looked for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name it has above
        """Nothing."""


class Target(ThreadingHTTPServer):
    """A server with a name that can go and come back at its address."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, name: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Names)
        self.name, self.port = name, int(self.server_address[1])
        self.asked: Counter[str] = Counter()
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def leave(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    found = {name: Target(name) for name in ("a", "b", "c")}
    yield found
    for target in found.values():
        target.leave()


@pytest.fixture(scope="module")
def gateway(targets: dict[str, Target], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    dead = Target("dead")
    dead.leave()
    gateway = Gateway(Path(tmp_path_factory.mktemp("targets")), 0)
    urls = {name: f"http://127.0.0.1:{target.port}" for name, target in targets.items()}
    gateway.write_policies(POLICIES.format(**urls, dead=f"http://127.0.0.1:{dead.port}"))
    try:
        gateway.start()
        yield gateway
        assert gateway.stop() == 0, gateway.log
    finally:
        gateway.kill()


@pytest.fixture(scope="module")
def customers(gateway: Gateway) -> list[Customer]:
    return [gateway.customer("paid") for _ in range(12)]


def test_a_canary_gets_its_share_of_the_calls(targets: dict[str, Target], customers: list[Customer]) -> None:
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: customers[0].get("/canary"), range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert 18 <= Counter(answer.text for answer in answers)["b"] <= 22, "each worker is at most one call off"


def places(customers: list[Customer]) -> list[set[str]]:
    """Where each customer is served, over several connections: both workers are asked."""

    def place(one: Customer) -> set[str]:
        answers = [one.get("/sticky") for _ in range(6)]
        assert {answer.status_code for answer in answers} == {200}
        return {answer.text for answer in answers}

    return [place(one) for one in customers]


def test_each_account_has_its_target_in_every_worker_and_only_those_of_a_dead_one_move(
    targets: dict[str, Target], customers: list[Customer]
) -> None:
    before = places(customers)
    assert all(len(found) == 1 for found in before)
    assert len(set.union(*before)) > 1
    (gone,) = before[0]
    targets[gone].leave()

    def have_moved() -> bool:
        now = places(customers)
        return all(len(one) == 1 and gone not in one for one in now) and all(
            one == old for one, old in zip(now, before, strict=True) if gone not in old
        )

    eventually(have_moved, "the accounts of the dead target are on others, the rest where they were")
    targets[gone] = Target(gone, targets[gone].port)
    eventually(lambda: places(customers) == before, "everybody is back")


def test_retries_end_with_their_budget(
    gateway: Gateway, targets: dict[str, Target], customers: list[Customer]
) -> None:
    """Half of the calls go to a target that is dead: some are tried again with the other, the rest fail."""
    headers, asked = customers[0].headers, targets["a"].asked
    statuses = Counter(
        requests.post(gateway.url("/half-dead"), headers=headers, data=b"hi", timeout=30).status_code
        for _ in range(60)
    )
    assert set(statuses) == {200, 502}
    retried = int(gateway.counted("upstream_retries_total"))
    denied = int(gateway.counted("upstream_retries_denied_total"))
    assert 5 <= retried <= 2 * 5 * 2, "five for each of two workers, in any ten seconds"
    assert statuses[502] == denied > 10
    assert statuses[200] == asked["/half-dead"], "each at most once"

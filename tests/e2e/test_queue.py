"""Calls that wait for a connection to their upstream: who is turned away or leaves has paid nothing."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.e2e.conftest import Customer, Gateway, eventually

POLICIES = """
upstreams:
  up: {{targets: ["http://127.0.0.1:{port}"], max_connections: 1, max_waiting: 2, timeouts: {{queue: 60s}}}}
tiers:
  paid:
    quotas: [{{meter: api_calls, amount: 100, per: month}}]
    concurrency: [{{name: at_once, max: 4}}]
routes:
  - {{name: all, match: {{path: /**}}, upstream: up}}
"""


class Held(BaseHTTPRequestHandler):
    """Answers when it may."""

    protocol_version = "HTTP/1.1"
    may = Event()

    def do_GET(self) -> None:
        self.may.wait(60)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name it has above
        """Nothing."""


@pytest.fixture
def paid(tmp_path: Path) -> Iterator[Customer]:
    """A customer of a gateway with one worker, before an upstream that takes one call at a time."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Held) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        gateway = Gateway(tmp_path, server.server_address[1])
        gateway.write_policies(POLICIES.format(port=gateway.upstream_port))
        try:
            gateway.start("--workers", "1")
            yield gateway.customer("paid")
        finally:
            Held.may.set()
            gateway.kill()
            server.shutdown()


def test_who_is_turned_away_or_leaves_the_queue_has_paid_nothing(paid: Customer) -> None:
    gateway = paid.gateway

    def waiting(count: int) -> bool:
        return gateway.counted("upstream_waiting") == count

    head = f"GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {paid.secret}\r\n\r\n".encode()
    with ThreadPoolExecutor(2) as pool, socket.create_connection(("127.0.0.1", gateway.listen)) as leaving:
        first = pool.submit(paid.get)
        eventually(lambda: gateway.counted("upstream_connections_total") == 1, "it has the only connection")
        leaving.sendall(head)
        eventually(lambda: waiting(1), "one waits")
        second = pool.submit(paid.get)
        eventually(lambda: waiting(2), "as many as may")
        refused = paid.get()
        assert (refused.status_code, refused.json()["code"]) == (503, "upstream_busy")
        assert refused.headers["Retry-After"] == "60"
        leaving.close()
        eventually(lambda: waiting(1), "it has left")
        Held.may.set()
        assert first.result().status_code == second.result().status_code == 204
    answers = [paid.get() for _ in range(4)]
    assert {answer.status_code for answer in answers} == {204}, "nobody holds a slot any more"
    outcomes = Counter(paid.outcomes(8))
    assert outcomes == {"client_aborted": 1, "overloaded": 1, "served": 6}
    charged = Counter(
        (row["outcome"], row["charges"].get("api_calls", 0)) for row in gateway.events(paid.account)
    )
    assert charged == {("client_aborted", 0): 1, ("overloaded", 0): 1, ("served", 1): 6}
    served = 6

    def is_back() -> bool:
        nonlocal served
        served += 1
        return f'"api_calls";r={100 - served};' in paid.get().headers["RateLimit"]

    eventually(is_back, "what they had paid is back in Redis")

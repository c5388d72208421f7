"""Every way the data plane says no, through a whole gateway: what the caller is told, the log, the bill."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.keys import mint
from gateway.errors import GatewayError
from gateway.model.principal import Mode
from tests.e2e.conftest import Customer, Gateway, eventually
from tests.e2e.test_callers import POSTGRES_PID, below

CANARY = "cAnArY0123"
"""In every request: target, header and body. The log must not know it."""

POLICIES = """
upstreams:
  good: {{targets: ["http://127.0.0.1:{port}"], timeouts: {{response: 60s}}}}
  narrow: {{targets: ["http://127.0.0.1:{port}"], max_connections: 1, max_waiting: 0, timeouts: {{response: 60s}}}}
  slow: {{targets: ["http://127.0.0.1:{port}"], timeouts: {{response: 100ms}}}}
  dead: {{targets: ["http://127.0.0.1:{dead}"]}}
meters: {{pages: {{unit: page}}}}
admission: {{mode: exact}}
tiers:
  paid:
    limits:
      - {{name: once, rate: 1/hour, burst: 1, routes: [limited]}}
      - {{name: wide, rate: 1/hour, burst: 1000, routes: [sized]}}
    quotas:
      - {{meter: api_calls, amount: 1000, per: month}}
      - {{meter: pages, amount: 2, per: month}}
    concurrency: [{{name: one, max: 1, routes: [alone]}}]
  odd: {{extends: paid}}
  more: {{extends: paid, features: [export]}}
routes:
  - {{name: small, match: {{path: /small}}, upstream: good, max_body: 10B}}
  - {{name: sized, match: {{path: /sized}}, upstream: good, cost: {{units: 1, per_kib: 1}}}}
  - {{name: elsewhere, match: {{path: /elsewhere}}, upstream: good, addresses: {{deny: [127.0.0.0/8]}}}}
  - {{name: scoped, match: {{path: /scoped}}, upstream: good, scopes: ["a:b"]}}
  - {{name: featured, match: {{path: /featured}}, upstream: good, requires: [export]}}
  - {{name: limited, match: {{path: /limited}}, upstream: good}}
  - {{name: paged, match: {{path: /paged}}, upstream: good, charges: {{api_calls: 1, pages: 2}}}}
  - {{name: alone, match: {{path: /hold/alone}}, upstream: good}}
  - {{name: narrow, match: {{path: /hold/narrow}}, upstream: narrow}}
  - {{name: slow, match: {{path: /hold/slow}}, upstream: slow}}
  - {{name: dead, match: {{path: /dead}}, upstream: dead}}
  - {{name: good, match: {{path: /good/**}}, upstream: good}}
"""  # noqa: E501  one route a line

LINE = b"X-Canary: " + CANARY.encode()
ELSEWHERE = {
    "client_gone": "nobody is left to be answered: its line is looked for by itself",
    "internal_error": "a defect: tests/integration/dataplane/test_nothing_left.py",
    "journal_unavailable": "a disk that is full: tests/unit/metering/test_meter.py",
    "overloaded": "tests/e2e/test_life_cycle.py",
}


class Upstream:
    """Answers with 200; what is below `/hold` only when it may, `/good/garbage` with garbage."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.targets: list[str] = []
        self._plug = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._plug.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._plug.accept()[0],), daemon=True).start()

    def _serve(self, plug: socket.socket) -> None:
        with plug, plug.makefile("rb") as lines, suppress(OSError):
            while line := lines.readline():
                target = line.split(b" ")[1].decode().partition("?")[0]
                self.targets.append(target)
                length = 0
                while (line := lines.readline()).strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line[15:])
                lines.read(length)
                if target.startswith("/hold"):
                    self.may.wait(60)
                garbage = target == "/good/garbage"
                plug.sendall(b"what?\r\n\r\n" if garbage else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        self.may.set()
        self._plug.close()


@dataclass
class Calls:
    """A gateway, its customer, and the ids of what was answered."""

    gateway: Gateway
    upstream: Upstream
    paid: Customer
    told: dict[str, tuple[str, int]] = field(default_factory=dict)  # request id -> code and status
    served: int = 0

    def open(self, raw: bytes) -> socket.socket:
        plug = socket.create_connection(("127.0.0.1", self.gateway.listen), timeout=30)
        plug.sendall(raw)
        return plug

    def refused(self, code: str, status: int, raw: bytes) -> dict[str, Any]:
        """The problem document, after what is true of each of them."""
        with self.open(raw) as plug:
            document = self.answered(plug)
        assert (document["code"], document["status"]) == (code, status)
        self.told[document["request_id"]] = (code, status)
        return document

    @staticmethod
    def answered(plug: socket.socket) -> dict[str, Any]:
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < _length(answer):
            data = plug.recv(65536)
            assert data, f"the connection ended behind {answer!r}"
            answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"\r\nContent-Type: application/problem+json\r\n" in head
        assert CANARY.encode() not in answer
        document: dict[str, Any] = json.loads(body)
        assert b"HTTP/1.1 %d " % document["status"] == head[:13]
        assert b"\r\nTollway-Request-Id: %b" % document["request_id"].encode() in head
        assert document["instance"] == f"urn:uuid:{document['request_id']}"
        assert document["title"]
        may_try_again = document["status"] in (429, 503) and document["code"] != "tier_unknown"
        assert (b"\r\nRetry-After: " in head) is may_try_again
        assert document["detail"]
        return document

    def serve(self, raw: bytes) -> bytes:
        """The answer to a call that passes."""
        with self.open(raw) as plug:
            answer = plug.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        self.served += 1
        return answer


def _length(answer: bytes) -> int:
    return int(answer.split(b"\r\nContent-Length: ")[1].split(b"\r\n")[0])


def request(
    path: str,
    secret: str = "",
    *,
    method: str = "GET",
    version: str = "1.1",
    more: bytes = b"",
    body: bytes = b"",
) -> bytes:
    key = f"X-API-Key: {secret}\r\n" if secret else ""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    head = f"{method} {path}?{CANARY} HTTP/{version}\r\nHost: x\r\n{key}".encode() + LINE
    return head + b"\r\n" + length + more + b"\r\n" + body


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    upstream = Upstream()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = probe.getsockname()[1]
    settings = {
        "TOLLWAY_LOG_LEVEL": "debug",
        "TOLLWAY_BODY_TIMEOUT_S": "1",
        "TOLLWAY_WRONG_KEYS_PER_MINUTE": "3",
    }
    gateway = Gateway(tmp_path_factory.mktemp("refusals"), upstream.port, settings=settings)
    gateway.write_policies(POLICIES.format(port=upstream.port, dead=dead))
    try:
        gateway.start("--workers", "1")
        yield Calls(gateway, upstream, gateway.customer("paid"))
        gateway.stop()
    finally:
        gateway.kill()
        upstream.close()


def test_every_refusal_has_its_code_one_line_in_the_log_and_is_free(calls: Calls) -> None:
    calls.serve(request("/good/first", calls.paid.secret))
    what_is_wrong_with_the_request(calls)
    who_may_not(calls)
    what_is_not_within_the_tier(calls)
    what_the_upstream_does(calls)
    what_the_gateway_lacks(calls)
    who_guesses(calls)

    def all_is_given_back() -> bool:
        answer = calls.serve(request("/good/last", calls.paid.secret))
        return b'RateLimit: "api_calls";r=%d;' % (1000 - calls.served) in answer

    eventually(all_is_given_back, "what was taken of those that failed later is back")

    kinds = {kind.code for kind in below_of(GatewayError)}
    assert {code for code, _ in calls.told.values()} == kinds - set(ELSEWHERE)
    log_has_one_line_of_each(calls)
    nothing_was_charged_for_it(calls)
    # Of all the rest nothing went on.
    may_go_on = (
        "/hold/",
        "/good/first",
        "/good/last",
        "/good/again",
        "/good/odd",
        "/good/garbage",
        "/good/half",
        "/limited",
        "/paged",
    )
    assert [target for target in calls.upstream.targets if not target.startswith(may_go_on)] == []


def log_has_one_line_of_each(calls: Calls) -> None:
    log = calls.gateway.log
    for request_id, (code, status) in calls.told.items():
        (line,) = (json.loads(line) for line in log.splitlines() if request_id in line)
        assert (line["message"], line["code"], line["status"]) == ("refused", code, status)
    (left,) = (json.loads(line) for line in log.splitlines() if '"client_gone"' in line)
    assert left["message"] == "refused"
    assert CANARY not in log
    assert calls.paid.secret not in log
    assert '"traceback"' not in log


def nothing_was_charged_for_it(calls: Calls) -> None:
    gateway, account = calls.gateway, calls.paid.account

    def all_booked() -> bool:
        outcomes = [row["outcome"] for row in gateway.events(account)]
        return outcomes.count("served") == calls.served and "client_aborted" in outcomes

    eventually(all_booked, "booked")
    for row in gateway.events(account):
        assert bool(row["charges"]) is (row["outcome"] == "served"), row
    used = {
        quota["meter"]: quota["used"]
        for quota in gateway.admin("GET", f"/accounts/{account}/period")["quotas"]
    }
    assert used == {"api_calls": calls.served, "pages": 2}


def below_of(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from below_of(one)


def what_is_wrong_with_the_request(calls: Calls) -> None:
    secret, refused = calls.paid.secret, calls.refused
    chunked = b"Transfer-Encoding: chunked\r\n"
    refused("bad_request", 400, request("/good", secret, more=b"Content-Length : 1\r\n"))
    refused("bad_request", 400, b"%b\x00\r\n\r\n" % CANARY.encode())
    refused("target_too_long", 414, request("/good/" + "a" * 9000, secret))
    refused("head_too_large", 431, request("/good", secret, more=b"X-A: %b\r\n" % (b"y" * 70_000)))
    refused("expectation_unknown", 417, request("/good", secret, more=b"Expect: %b\r\n" % CANARY.encode()))
    refused("version_refused", 505, request("/good", secret, version="2.0"))
    refused("method_refused", 405, request("/good", secret, method="TRACE"))
    refused("not_implemented", 501, request("/good", secret, more=b"Transfer-Encoding: gzip, chunked\r\n"))
    refused("no_route", 404, request(f"/{CANARY}", secret))
    refused("body_too_large", 413, request("/small", secret, method="POST", body=CANARY.encode() * 2))
    refused(
        "body_too_large",
        413,
        request("/small", secret, method="POST", more=chunked) + b"14\r\n" + LINE + b"\r\n",
    )
    refused("length_required", 411, request("/sized", secret, method="POST", more=chunked))
    half = request("/good/half", secret, method="POST", body=LINE)[:-5]
    refused("request_timeout", 408, half)


def who_may_not(calls: Calls) -> None:
    gateway, refused = calls.gateway, calls.refused
    refused("unauthenticated", 401, request("/good"))
    refused("address_refused", 403, request("/elsewhere", calls.paid.secret))
    refused("feature_required", 403, request("/featured", calls.paid.secret))
    keys = f"/accounts/{calls.paid.account}/keys"
    key = gateway.admin("POST", keys, json={"name": "only", "only_routes": ["scoped"], "scopes": []})[
        "secret"
    ]
    refused("key_restricted", 403, request("/good/key", key))
    refused("insufficient_scope", 403, request("/scoped", key))
    suspended = gateway.customer("paid")
    gateway.admin("PATCH", f"/accounts/{suspended.account}", json={"status": "suspended"})
    refused("account_suspended", 403, request("/good/suspended", suspended.secret))


def what_is_not_within_the_tier(calls: Calls) -> None:
    secret, refused = calls.paid.secret, calls.refused
    calls.serve(request("/limited", secret))
    refused("rate_limited", 429, request("/limited", secret))
    calls.serve(request("/paged", secret))
    refused("quota_exceeded", 429, request("/paged", secret))
    with held(calls, "/hold/alone"):
        refused("concurrency_exceeded", 429, request("/hold/alone", secret))


def what_the_upstream_does(calls: Calls) -> None:
    secret, refused = calls.paid.secret, calls.refused
    with held(calls, "/hold/narrow"):
        refused("upstream_busy", 503, request("/hold/narrow", secret))
    refused("upstream_unreachable", 502, request("/dead", secret))
    refused("upstream_invalid", 502, request("/good/garbage", secret))
    calls.upstream.may.clear()
    refused("upstream_timeout", 504, request("/hold/slow", secret))
    count = len(calls.upstream.targets)
    with calls.open(request("/hold/alone", secret)):
        eventually(lambda: len(calls.upstream.targets) > count, "it is there, and leaves")
    calls.upstream.may.set()


def what_the_gateway_lacks(calls: Calls) -> None:
    gateway, refused = calls.gateway, calls.refused
    odd, unseen = gateway.customer("odd"), gateway.customer("paid")
    text = (gateway.policies / "all.yaml").read_text()
    gateway.write_policies(text.replace("  odd: {extends: paid}\n", ""))

    eventually(lambda: odd.get("/good/odd").status_code == 503, "the tier is gone")
    refused("tier_unknown", 503, request("/good/odd", odd.secret))
    with stopped(gateway, "redis/redis.pid"):
        refused("admission_unavailable", 503, request("/good/redis", calls.paid.secret))
    eventually(lambda: calls.paid.get("/good/again").status_code == 200, "Redis decides again")
    calls.served += 1
    with stopped(gateway, POSTGRES_PID):
        refused("key_lookup_unavailable", 503, request("/good/postgres", unseen.secret))


def who_guesses(calls: Calls) -> None:
    """Last: from here on nobody is let in who was not before."""
    for _ in range(4):
        show = calls.open(request("/good/guess", mint("tw", Mode.LIVE).secret))
        with show:
            document = calls.answered(show)
        calls.told[document["request_id"]] = (document["code"], document["status"])
    assert (document["code"], document["status"]) == ("too_many_attempts", 429)


@contextmanager
def held(calls: Calls, path: str) -> Iterator[None]:
    """A call that is under way meanwhile."""
    calls.upstream.may.clear()
    count = calls.upstream.targets.count(path)
    with calls.open(request(path, calls.paid.secret)) as plug:
        eventually(lambda: calls.upstream.targets.count(path) > count, "it is held")
        yield
        calls.upstream.may.set()
        assert plug.recv(65536).startswith(b"HTTP/1.1 200 ")
    calls.served += 1


@contextmanager
def stopped(gateway: Gateway, name: str | Path) -> Iterator[None]:
    """A store of the gateway's own that does not answer."""
    first = int((gateway.data_dir / name).read_text().split()[0])
    pids = [first, *below(first)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)

"""Stopping, replacing and losing workers under load, call by call."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Customer, Gateway, eventually, running
from tests.e2e.load import Load, Loop, Upstream, everybody
from tests.e2e.test_operations import worker_pids

CERTS = Path(__file__).parents[1] / "integration" / "dataplane" / "certs"
TLS = {"TOLLWAY_TLS_CERT": str(CERTS / "first.crt"), "TOLLWAY_TLS_KEY": str(CERTS / "first.key")}
CALLERS = 22  # in `everybody`
PID_FILES = ("postgres/postmaster.pid", "redis/redis.pid")

POLICIES = """
upstreams:
  up: {{targets: [http://127.0.0.1:{port}]}}
tiers:
  paid:
    price: {{amount: 0, currency: USD, per: month}}
    limits: [{{name: burst, rate: 100000/second, burst: 100000}}]
admission: {{on_store_loss: allow}}  # a machine that is busy with other tests may keep Redis waiting
routes:
  - {{name: all, match: {{path: /**}}, upstream: up}}
"""


def write_policies(folder: Path, upstream: Upstream) -> None:
    (folder / "policies").mkdir()
    (folder / "policies" / "all.yaml").write_text(POLICIES.format(port=upstream.port))


@pytest.fixture
def paid(upstream: Upstream, tmp_path: Path) -> Iterator[Customer]:
    """A customer of a gateway of its own."""
    write_policies(tmp_path, upstream)
    with running(tmp_path, upstream.port) as gateway:
        yield gateway.customer("paid")


def send(gateway: Gateway, number: signal.Signals) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(number)


def told(gateway: Gateway, words: str, times: int = 1) -> bool:
    return gateway.log.count(words) >= times


def readiness(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(gateway.control_url("/readyz"), timeout=5).json()
    return found


def booked(customer: Customer) -> int:
    """The calls of a customer as Postgres has them, whatever became of them."""
    rows = customer.gateway.admin("GET", f"/usage?account={customer.account}")["data"]
    return sum(row["events"] for row in rows if row["meter"] == "api_calls")


def test_sigterm_under_load_loses_no_call(paid: Customer, loop: Loop) -> None:
    gateway = paid.gateway
    with loop.load(gateway.listen, paid.secret, everybody) as load:
        eventually(lambda: load.answered > 300, "the load is on")
        load.ends_when_refused = True
        assert gateway.stop() == 0
    assert load.lost == []
    assert set(load.statuses) == {200}
    assert load.refused
    gateway.start()
    assert booked(paid) == load.answered


def test_rolling_restarts_under_load_lose_no_call(paid: Customer, loop: Loop) -> None:
    gateway = paid.gateway
    before = set(worker_pids(gateway))
    with loop.load(gateway.listen, paid.secret, everybody) as load:
        eventually(lambda: load.answered > 300, "the load is on")
        for times in (1, 2, 3):
            send(gateway, signal.SIGUSR2)
            eventually(partial(told, gateway, "rolling restart done", times), "replaced", 60)
        answered = load.answered
        eventually(lambda: load.answered > answered + 300, "served after all that")
    assert load.lost == []
    assert set(load.statuses) == {200}
    assert len(after := set(worker_pids(gateway))) == 2
    assert not before & after


def test_so_it_is_with_tls(upstream: Upstream, loop: Loop, tmp_path: Path) -> None:
    """Handshakes under way, and calls behind them, are waited for like calls."""
    write_policies(tmp_path, upstream)
    trusts = ssl.create_default_context(cafile=str(CERTS / "first.crt"))
    with running(tmp_path, upstream.port, **TLS) as gateway:
        paid = gateway.customer("paid")
        with loop.load(gateway.listen, paid.secret, everybody, trusts) as load:
            eventually(lambda: load.answered > 200, "the load is on")
            send(gateway, signal.SIGUSR2)
            eventually(partial(told, gateway, "rolling restart done"), "replaced", 60)
            answered = load.answered
            eventually(lambda: load.answered > answered + 200, "served after that")
            load.ends_when_refused = True
            assert gateway.stop() == 0
        assert load.lost == []
        assert set(load.statuses) == {200}
        gateway.start()
        assert booked(paid) == load.answered


def test_callers_are_told_before_the_port_closes(upstream: Upstream, loop: Loop, tmp_path: Path) -> None:
    write_policies(tmp_path, upstream)
    with running(tmp_path, upstream.port, TOLLWAY_DRAIN_DELAY_S="600") as gateway:
        paid = gateway.customer("paid")
        with requests.Session() as kept:
            answer = kept.get(gateway.url("/"), headers=paid.headers, timeout=10)
            assert "Connection" not in answer.headers
            send(gateway, signal.SIGTERM)
            eventually(
                lambda: readiness(gateway).get("missing", [{}])[0].get("what") == "gateway", "not ready"
            )
            assert requests.get(gateway.control_url("/healthz"), timeout=5).status_code == 200
            eventually(
                lambda: kept.get(gateway.url("/"), headers=paid.headers).headers.get("Connection") == "close",
                "kept connections are told",
            )
            eventually(
                lambda: paid.get().headers.get("Connection") == "close", "new ones, too, at any worker"
            )
        assert gateway.stop() == 0  # asked twice, it does not wait any longer
        assert paid.gateway.log.count('"draining"') == 1


def test_a_tls_handshake_under_way_is_finished(upstream: Upstream, tmp_path: Path) -> None:
    write_policies(tmp_path, upstream)
    with running(tmp_path, upstream.port, **TLS) as gateway:
        paid = gateway.customer("paid")
        context = ssl.create_default_context(cafile=str(CERTS / "first.crt"))
        with socket.create_connection(("127.0.0.1", gateway.listen)) as plug:
            eventually(lambda: plug_is_accepted(gateway, plug), "accepted")
            send(gateway, signal.SIGTERM)
            eventually(lambda: told(gateway, '"draining"'), "draining")
            with context.wrap_socket(plug, server_hostname="localhost") as secured:
                request = f"GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {paid.secret}\r\n\r\n"
                secured.sendall(request.encode())
                assert secured.recv(1000).startswith(b"HTTP/1.1 200 ")


def plug_is_accepted(gateway: Gateway, plug: socket.socket) -> bool:
    """Whether a worker has the other end: the kernel shows an owner only for accepted sockets."""
    port = plug.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{gateway.listen:04X}") and fields[2].endswith(f":{port:04X}"):
            return fields[9] != "0"
    return False


def test_killed_workers_break_their_calls_and_no_connection(paid: Customer, loop: Loop) -> None:
    """Nothing can save the calls that a killed worker had in hand. All others are answered."""
    gateway = paid.gateway
    with loop.load(gateway.listen, paid.secret, everybody) as load:
        for _ in range(3):
            answered, lost = load.answered, len(load.lost)
            eventually(partial(has_answered, load, answered + 200), "the load is on")
            victim = worker_pids(gateway)[0]
            os.kill(victim, signal.SIGKILL)
            eventually(partial(is_replaced, gateway, victim), "another in its place")
            assert len(load.lost) - lost <= CALLERS, "one call a caller at most"
    assert set(load.statuses) == {200}
    assert load.refused == 0
    assert not [what for what in load.lost if what.startswith("not connected")]
    assert worker_pids(gateway)
    gateway.stop()
    gateway.start()
    assert load.answered <= booked(paid) <= load.answered + len(load.lost)


def has_answered(load: Load, count: int) -> bool:
    return load.answered > count


def is_replaced(gateway: Gateway, victim: int) -> bool:
    return victim not in (pids := worker_pids(gateway)) and len(pids) == 2


def test_the_others_accept_for_a_worker_that_hangs(paid: Customer) -> None:
    gateway = paid.gateway
    stopped = worker_pids(gateway)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        plugs = [socket.create_connection(("127.0.0.1", gateway.listen)) for _ in range(20)]
        for plug in plugs:
            plug.settimeout(30)
            plug.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {paid.secret}\r\n\r\n".encode())
        assert {plug.recv(1000)[:13] for plug in plugs} == {b"HTTP/1.1 200 "}
        assert readiness(gateway)["code"] == "not_ready"
        for plug in plugs:
            plug.close()
    finally:
        os.kill(stopped, signal.SIGCONT)
    eventually(lambda: "code" not in readiness(gateway), "ready again")


def test_a_new_worker_that_does_not_get_ready_changes_nothing(paid: Customer, loop: Loop) -> None:
    gateway = paid.gateway
    accepted = gateway.data_dir / "run" / "policies.json"
    good = accepted.read_bytes()
    before = worker_pids(gateway)
    with loop.load(gateway.listen, paid.secret, everybody) as load:
        accepted.write_bytes(b"spoiled")
        send(gateway, signal.SIGUSR2)
        eventually(lambda: told(gateway, "rolling restart stopped: the new process ended with"), "it is said")
        assert worker_pids(gateway) == before
        assert gateway.counted("rolling_restarts_total") == 1
        accepted.write_bytes(good)
        send(gateway, signal.SIGUSR2)
        eventually(lambda: told(gateway, "rolling restart done"), "mended", 60)
    assert load.lost == []
    assert set(load.statuses) == {200}


def test_at_its_memory_bound_a_worker_turns_calls_away(upstream: Upstream, tmp_path: Path) -> None:
    write_policies(tmp_path, upstream)
    with running(tmp_path, upstream.port, TOLLWAY_MAX_MEMORY_MB="1") as gateway:
        paid = gateway.customer("paid")
        answer = paid.get()
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert answer.headers["Retry-After"] == "1"
        assert paid.get().status_code == 503
        assert not upstream.seen
        eventually(lambda: readiness(gateway).get("missing", [{}])[0].get("what") == "workers", "not ready")
        assert requests.get(gateway.control_url("/healthz"), timeout=5).status_code == 200
        assert gateway.counted("overload_shed_total") == 2
        assert gateway.log.count("overloaded, new calls are turned away") == 2, "one line a worker"
        assert eventually(gateway.of_nobody, "booked") == {("overloaded", ""): 2}


def test_a_loop_that_is_late_for_long_turns_calls_away_until_it_is_in_time(
    upstream: Upstream, loop: Loop, tmp_path: Path
) -> None:
    write_policies(tmp_path, upstream)
    with running(tmp_path, upstream.port, TOLLWAY_MAX_LOOP_LAG_MS="250") as gateway:
        paid = gateway.customer("paid")
        (first, second) = worker_pids(gateway)
        with loop.load(gateway.listen, paid.secret, everybody) as load, blocked(first), blocked(second):
            eventually(lambda: load.statuses[503], "calls are turned away", 40)
            assert requests.get(gateway.control_url("/healthz"), timeout=5).status_code == 200
        assert load.lost == []
        eventually(lambda: told(gateway, "not overloaded any more: the loop is in time"), "over", 60)
        eventually(lambda: not gateway.counted("overloaded"), "both", 60)
        assert {paid.get().status_code for _ in range(20)} == {200}


@contextmanager
def blocked(pid: int) -> Iterator[None]:
    """A process that hardly gets to run: for 20 ms in every 420."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.4)
            os.kill(pid, signal.SIGCONT)
            over.wait(0.02)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_stores_that_do_not_answer_are_no_overload(upstream: Upstream, loop: Loop, tmp_path: Path) -> None:
    write_policies(tmp_path, upstream)
    with running(tmp_path, upstream.port, TOLLWAY_MAX_LOOP_LAG_MS="2000") as gateway:
        paid = gateway.customer("paid")
        stores = [int((gateway.data_dir / name).read_text().split()[0]) for name in PID_FILES]
        with loop.load(gateway.listen, paid.secret, everybody) as load:
            eventually(lambda: load.answered > 300, "the load is on")
            for pid in stores:
                os.kill(pid, signal.SIGSTOP)
            try:
                answered = load.answered
                eventually(lambda: load.answered > answered + 300, "served without them")
            finally:
                for pid in stores:
                    os.kill(pid, signal.SIGCONT)
        assert set(load.statuses) == {200}
        assert gateway.counted("overload_shed_total") == 0

"""What an operator does to it at night: reload, revoke, restart, kill, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import POLICIES, Customer, Gateway, descendants, eventually, running
from tests.ports import free_port


def worker_pids(gateway: Gateway) -> list[int]:
    """Processes that hold the public port open for listening, as the kernel lists their sockets."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == gateway.listen and fields[3] == "0A":
            inodes.add(f"socket:[{fields[9]}]")
    found = []
    for pid in gateway.children().values():
        with suppress(OSError):
            if any(_link(one) in inodes for one in Path(f"/proc/{pid}/fd").iterdir()):
                found.append(pid)
    return found


def _link(descriptor: Path) -> str:
    with suppress(OSError):  # closed while we looked
        return os.readlink(descriptor)
    return ""


def test_revocation_reaches_every_worker_within_a_second(gateway: Gateway) -> None:
    paid = gateway.customer("paid")
    for _ in range(20):  # fresh connections: both workers have cached the key
        assert paid.get().status_code == 200
    gateway.admin("POST", f"/keys/{paid.key}/revoke")
    give_up_at = time.monotonic() + 1.0
    while paid.get().status_code == 200:
        assert time.monotonic() < give_up_at, "revoked a second ago and still let in"
    assert {paid.get().status_code for _ in range(20)} == {401}


def test_a_tier_change_reaches_every_worker(gateway: Gateway) -> None:
    free = gateway.customer("free")
    assert free.get("/anything/export").status_code == 403
    gateway.admin("PATCH", f"/accounts/{free.account}", json={"tier": "paid"})
    eventually(
        lambda: {free.get("/anything/export").status_code for _ in range(10)} == {200}, "the new tier counts"
    )


def test_health_and_metrics(gateway: Gateway) -> None:
    assert requests.get(gateway.control_url("/healthz"), timeout=5).json() == {"status": "alive"}
    assert requests.get(gateway.control_url("/readyz"), timeout=5).json()["status"] == "ready"
    text = requests.get(gateway.control_url("/metrics"), timeout=5).text
    assert "tollway_requests_total{" in text
    assert 'process="worker-2"' in text


def test_the_admin_api_needs_its_token_and_no_customer_key_opens_it(gateway: Gateway) -> None:
    paid = gateway.customer("paid")
    assert requests.get(gateway.control_url("/admin/v1/accounts"), timeout=5).status_code == 401
    answer = requests.get(gateway.control_url("/admin/v1/accounts"), headers=paid.headers, timeout=5)
    assert answer.status_code == 401


def test_a_changed_folder_is_taken_into_use_and_a_broken_one_is_not(own_gateway: Gateway) -> None:
    small = own_gateway.customer("small")
    good = POLICIES.format(port=own_gateway.upstream_port)
    own_gateway.write_policies(good.replace("path: /**", "path: /get"))
    eventually(lambda: small.get("/ip").status_code == 404, "the change is in use")
    eventually(lambda: {small.get("/ip").status_code for _ in range(10)} == {404}, "in every worker")
    own_gateway.write_policies(
        good.replace("burst: 5", "burst: -5").replace(
            "upstream: httpbin, requires", "upstream: nope, requires"
        )
    )
    eventually(lambda: own_gateway.log.count("policy problem: ") >= 2, "both problems are told")
    own_gateway.write_policies(POLICIES.format(port=own_gateway.control))
    eventually(lambda: "is this gateway itself" in own_gateway.log, "no way to the control port")
    assert small.get("/ip").status_code == 404
    own_gateway.write_policies(good)
    assert own_gateway.process is not None
    own_gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: {small.get("/ip").status_code for _ in range(10)} <= {200, 429}, "mended")


def test_a_killed_worker_is_restarted_and_its_call_is_booked_as_interrupted(own_gateway: Gateway) -> None:
    paid = own_gateway.customer("paid")
    assert paid.get().status_code == 200
    before = eventually(lambda: len(found := worker_pids(own_gateway)) == 2 and found, "two workers")
    records = own_gateway.counted("journal_records_total")
    hanging = threading.Thread(target=_broken_call, args=(paid,))
    hanging.start()
    eventually(lambda: own_gateway.counted("journal_records_total") > records, "the call has begun")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    hanging.join()
    eventually(lambda: len(set(worker_pids(own_gateway)) - set(before)) == 2, "two new workers")
    eventually(lambda: paid.get().status_code == 200, "served again")
    assert sorted(paid.outcomes(3)) == ["interrupted", "served", "served"]


def _broken_call(customer: Customer) -> None:
    with pytest.raises(requests.ConnectionError):
        customer.get("/delay/8")


def test_every_process_may_die_and_nothing_is_lost(own_gateway: Gateway) -> None:
    paid = own_gateway.customer("paid")
    answered: set[str] = set()

    def call() -> bool:
        answer = paid.get()
        assert answer.status_code == 200
        answered.add(answer.headers["Tollway-Request-Id"])
        return True

    for pid in list(own_gateway.children().values()):
        eventually(call, "served")
        os.kill(pid, signal.SIGKILL)
        eventually(call, "served again")
        eventually(lambda: requests.get(own_gateway.control_url("/readyz"), timeout=2).ok, "ready again", 40)
    eventually(call, "served at the end")

    def booked() -> bool:
        rows = own_gateway.events(paid.account)
        ids = [row["request_id"] for row in rows if row["outcome"] == "served"]
        assert len(ids) == len(set(ids))
        return answered <= set(ids)

    eventually(booked, "every answered call is booked once", 30)


def test_sigterm_drains_and_a_second_start_finds_its_data(own_gateway: Gateway) -> None:
    paid = own_gateway.customer("paid")
    assert own_gateway.process is not None
    family = descendants(own_gateway.process.pid)
    answers: list[int] = []
    records = own_gateway.counted("journal_records_total")
    slow = threading.Thread(target=lambda: answers.append(paid.get("/delay/2").status_code))
    slow.start()
    eventually(lambda: own_gateway.counted("journal_records_total") > records, "the call has begun")
    assert own_gateway.stop() == 0
    slow.join()
    assert answers == [200]
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
    own_gateway.start()
    assert paid.outcomes(1) == ["served"]
    assert paid.get().status_code == 200


def test_ctrl_c_stops_everything(own_gateway: Gateway) -> None:
    assert own_gateway.process is not None
    family = descendants(own_gateway.process.pid)
    assert len(family) > 6
    assert own_gateway.stop(signal.SIGINT) == 0
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]


def test_a_killed_supervisor_takes_its_processes_along_and_can_be_started_again(own_gateway: Gateway) -> None:
    paid = own_gateway.customer("paid")
    assert paid.get().status_code == 200
    own_gateway.kill()
    eventually(lambda: not _answers(own_gateway), "the workers noticed")
    own_gateway.start()
    assert paid.get().status_code == 200
    assert paid.outcomes(2) == ["served"] * 2


def _answers(gateway: Gateway) -> bool:
    try:
        requests.get(gateway.url("/"), timeout=2)
    except requests.ConnectionError:
        return False
    return True


def refused_start(gateway: Gateway, *flags: str, **environment: str) -> tuple[int, list[str]]:
    """Exit status and lines of a start that must not succeed."""
    gateway.write_policies(POLICIES.format(port=1))
    return start_with(gateway, *flags, **environment)


def start_with(gateway: Gateway, *flags: str, **environment: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "gateway", "run", "--policies", str(gateway.policies)]
    command += ["--listen", f"127.0.0.1:{gateway.listen}", "--control", f"127.0.0.1:{gateway.control}"]
    command += ["--portal", f"127.0.0.1:{gateway.portal}", *flags]
    done = subprocess.run(
        command,
        check=False,
        env=gateway.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


@pytest.fixture
def unstarted(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path, upstream_port=1)


def test_a_broken_policy_folder_starts_nothing(unstarted: Gateway) -> None:
    text = POLICIES.format(port=1)
    unstarted.write_policies(
        text.replace("burst: 5", "burst: 0").replace("features: [export]", "featurs: [export]")
    )
    status, lines = start_with(unstarted)
    assert status == 1
    assert [line for line in lines if "all.yaml:13:" in line], lines
    assert [line for line in lines if "featurs" in line and "features" in line], lines
    assert not (unstarted.data_dir / "postgres").exists()


def test_an_upstream_that_is_our_own_control_port_starts_nothing(unstarted: Gateway) -> None:
    unstarted.write_policies(POLICIES.format(port=unstarted.control).replace("127.0.0.1", "localhost"))
    status, lines = start_with(unstarted)
    assert status == 1
    assert "all.yaml:3: upstreams.httpbin.targets[0]: is this gateway itself (--control" in lines[-1], lines
    assert not (unstarted.data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("case", "environment", "wanted"),
    [
        (
            "unreachable Postgres",
            {"TOLLWAY_DATABASE_URL": "postgresql://u:canary@127.0.0.1:2/db"},
            "127.0.0.1:2",
        ),
        ("not a URL", {"TOLLWAY_DATABASE_URL": "canary"}, "TOLLWAY_DATABASE_URL"),
        ("unreachable Redis", {"TOLLWAY_REDIS_URL": "redis://:canary@127.0.0.1:2/0"}, "127.0.0.1:2"),
        (
            "no such certificate",
            {"TOLLWAY_TLS_CERT": "/none.crt", "TOLLWAY_TLS_KEY": "/none.key"},
            "TOLLWAY_TLS_CERT and TOLLWAY_TLS_KEY can not be used",
        ),
        ("an unknown setting", {"TOLLWAY_DATABASE_URI": "canary"}, "did you mean TOLLWAY_DATABASE_URL"),
    ],
)
def test_what_can_not_be_used_is_one_clear_line(
    case: str, environment: dict[str, str], wanted: str, unstarted: Gateway
) -> None:
    status, lines = refused_start(unstarted, **environment)
    told = [line for line in lines if line.startswith("tollway: ")]
    assert status == 1
    assert len(told) == 1, lines
    assert wanted in told[0]
    assert "canary" not in "\n".join(lines)


@pytest.mark.parametrize("flag", ["--listen", "--control", "--portal"])
def test_a_taken_port_is_one_clear_line(gateway: Gateway, unstarted: Gateway, flag: str) -> None:
    taken = {"--listen": gateway.listen, "--control": gateway.control, "--portal": gateway.portal}[flag]
    status, lines = refused_start(unstarted, flag, f"127.0.0.1:{taken}")
    assert status == 1
    assert lines == [line for line in lines if line.startswith("tollway: ")], lines
    assert str(taken) in lines[0]


def test_two_gateways_do_not_share_a_data_folder(gateway: Gateway, tmp_path: Path) -> None:
    other = Gateway(tmp_path, upstream_port=1, listen=free_port())
    other.write_policies(POLICIES.format(port=1))
    status, lines = start_with(other, TOLLWAY_DATA_DIR=str(gateway.data_dir))
    assert status == 1
    assert "Another gateway runs on" in lines[-1]


def test_nothing_secret_is_in_the_logs(httpbin: int, tmp_path: Path) -> None:
    with running(tmp_path, httpbin) as own:
        paid = own.customer("paid")
        canary = {"X-API-Key": "tw_live_canarycanarycanarycanarycanary"}
        requests.get(own.url("/get?api_key=canary"), headers=canary, timeout=10)
        requests.get(own.url("/%2fcanary"), headers=paid.headers, timeout=10)
        assert paid.get().status_code == 200
        own.stop()
        assert "canary" not in own.log
        assert paid.secret not in own.log
        assert own.token not in own.log

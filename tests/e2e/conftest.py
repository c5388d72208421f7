"""The gateway as an operator starts it, in front of an upstream that nobody here wrote."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import migrate
from tests.conftest import run_aside
from tests.e2e.load import Loop, Upstream, looping
from tests.ports import free_port

POLICIES = """
upstreams:
  httpbin: {{targets: [http://127.0.0.1:{port}]}}
meters:
  pages: {{unit: page}}
tiers:
  small:
    price: {{amount: 0, currency: USD, per: month}}
    limits: [{{name: burst, rate: 1000/second, burst: 1000}}]
    quotas: [{{meter: api_calls, amount: 10, per: month}}]
  free:
    price: {{amount: 0, currency: USD, per: month}}
    limits: [{{name: burst, rate: 60/hour, burst: 5}}]
    quotas: [{{meter: api_calls, amount: 1000, per: month}}]
  paid:
    extends: small
    price: {{amount: 4900, currency: USD, per: month}}
    quotas: [{{meter: api_calls, amount: 100000, per: month}}]
    features: [export]
routes:
  - {{name: export, match: {{path: /anything/export}}, upstream: httpbin, requires: [export], charges: {{api_calls: 1, pages: 3}}}}
  - {{name: pages, match: {{methods: [GET, POST], path: /anything/pages/**}}, upstream: httpbin, cors: pages}}
  - {{name: all, match: {{path: /**}}, upstream: httpbin}}
cors:
  pages: {{origins: ["https://*.example.com"]}}
"""  # noqa: E501  one route a line


def eventually(check: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """What `check` returns once it is true; its last exception or `what` if it never is."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        error: Exception | None = None
        try:
            if value := check():
                return value
        except (AssertionError, OSError, requests.RequestException) as failure:
            error = failure
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not in time: {what}") from error
        time.sleep(0.05)


def descendants(pid: int) -> set[int]:
    found = set()
    for line in subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        child, parent = map(int, line.split())
        if parent == pid:
            found |= {child} | descendants(child)
    return found


@dataclass
class Gateway:
    """A running `tollway run` and what one can ask of it."""

    servers: ClassVar[Path]  # has the data of gateways, which is thousands of files
    migrated: ClassVar[Path]  # what a PostgreSQL keeps that another gateway made and left
    folder: Path
    upstream_port: int
    listen: int = field(default_factory=free_port)
    control: int = field(default_factory=free_port)
    portal: int = field(default_factory=free_port)
    token: str = "an-admin-token-for-tests"
    process: subprocess.Popen[bytes] | None = None
    settings: dict[str, str] = field(default_factory=dict)  # further environment
    data_dir: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(dir=Gateway.servers)))

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLWAY_")}
        return kept | {
            "TOLLWAY_DATA_DIR": str(self.data_dir),
            "TOLLWAY_ADMIN_TOKEN": self.token,
            "TOLLWAY_LOG_FORMAT": "json",
            "TOLLWAY_MAX_LOOP_LAG_MS": "0",  # a machine that is busy with other tests is nobody's overload
            **self.settings,
        }

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.listen}{path}"

    def control_url(self, path: str) -> str:
        is_tls = "TOLLWAY_CONTROL_TLS_CERT" in self.settings  # of a certificate for localhost
        return f"{'https://localhost' if is_tls else 'http://127.0.0.1'}:{self.control}{path}"

    def write_policies(self, text: str) -> None:
        self.policies.mkdir(parents=True, exist_ok=True)
        (self.policies / "all.yaml").write_text(text)

    def start(self, *flags: str) -> None:
        if not self.policies.exists():
            self.write_policies(POLICIES.format(port=self.upstream_port))
        if not (self.data_dir / "postgres").exists() and "TOLLWAY_DATABASE_URL" not in self.settings:
            subprocess.run(["cp", "-a", self.migrated, self.data_dir], check=True)
        command = [sys.executable, "-m", "gateway", "run", "--policies", str(self.policies), "--workers", "2"]
        command += ["--listen", f"127.0.0.1:{self.listen}", "--control", f"127.0.0.1:{self.control}"]
        command += ["--portal", f"127.0.0.1:{self.portal}", *flags]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        eventually(self._is_ready, "the gateway is ready", 40)

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the gateway ended:\n{self.log}")  # not for `eventually` to wait out
        trusted = self.settings.get("TOLLWAY_CONTROL_TLS_CERT", True)
        return requests.get(self.control_url("/readyz"), timeout=2, verify=trusted).status_code == 200

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def kill(self) -> None:
        """Whatever of it is left, with its servers, which nobody would start again."""
        if self.process is not None and self.process.poll() is None:
            below = descendants(self.process.pid)
            self.process.kill()
            self.process.wait(10)
            for pid in below:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def tollway(self, *arguments: str, ok: bool = True) -> Any:
        """Run a command with `--json`; its parsed output."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stderr.decode()
        return json.loads(done.stdout)

    def admin(self, method: str, path: str, **options: Any) -> Any:
        answer = requests.request(
            method,
            self.control_url(f"/admin/v1{path}"),
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=10,
            **options,
        )
        assert answer.ok, answer.text
        return answer.json()

    def customer(self, tier: str) -> Customer:
        """A new account with a live key, made through the admin API."""
        account = self.admin("POST", "/accounts", json={"name": f"{tier} customer", "tier": tier})["id"]
        key = self.admin("POST", f"/accounts/{account}/keys", json={"name": "test"})
        return Customer(self, account, key["id"], key["secret"])

    def events(self, account: str) -> list[dict[str, Any]]:
        """The account's usage rows, newest first."""
        rows: list[dict[str, Any]] = self.admin("GET", f"/usage/events?account={account}&limit=1000")["data"]
        return rows

    def of_nobody(self) -> dict[tuple[str, str], int]:
        """Calls by outcome and route, as far as they are booked, that no account made: they are sums."""
        rows = self.admin("GET", "/usage")["data"]
        of_nobody = [row for row in rows if row["account"] is None and row["meter"] == "api_calls"]
        return {(row["outcome"], row["route"]): row["events"] for row in of_nobody}

    def counted(self, metric: str) -> float:
        """The sum of a metric over processes and labels."""
        lines = requests.get(self.control_url("/metrics"), timeout=5).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"tollway_{metric}{{"))

    def children(self) -> dict[str, int]:
        """Process ids by what they are called in the kernel's list of our children's order."""
        assert self.process is not None
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {pid: int(pid) for pid in found}


@dataclass(frozen=True)
class Customer:
    gateway: Gateway
    account: str
    key: str
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def get(self, path: str = "/get", **options: Any) -> requests.Response:
        return requests.get(self.gateway.url(path), headers=self.headers, timeout=30, **options)

    def outcomes(self, count: int) -> list[str]:
        """Outcomes of the usage rows, oldest first, once there are `count`."""

        def rows() -> list[dict[str, Any]]:
            found = self.gateway.events(self.account)
            return found if len(found) >= count else []

        found = eventually(rows, f"{count} usage rows")
        return [row["outcome"] for row in reversed(found)]


@pytest.fixture(scope="session")
def httpbin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """httpbin under gunicorn; its port."""
    port = free_port()
    log = tmp_path_factory.mktemp("httpbin") / "log"
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "8"]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "httpbin:app"], stdout=out, stderr=out)
    try:
        eventually(
            lambda: requests.get(f"http://127.0.0.1:{port}/status/200", timeout=2).ok, "httpbin answers", 40
        )
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def running(folder: Path, upstream_port: int, **settings: str) -> Iterator[Gateway]:
    gateway = Gateway(folder, upstream_port, settings=settings)
    try:
        gateway.start()
        yield gateway
        if gateway.process is not None and gateway.process.poll() is None:
            assert gateway.stop() == 0, gateway.log
    finally:
        gateway.kill()
        shutil.rmtree(gateway.data_dir)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop of its own, for callers and upstreams beside a test."""
    with looping() as started:
        yield started


@pytest.fixture
def upstream(loop: Loop) -> Iterator[Upstream]:
    """One that counts what reaches it."""
    upstream = Upstream()
    server = loop.run(upstream.serve())
    yield upstream
    loop.loop.call_soon_threadsafe(server.close)


@pytest.fixture(scope="session", autouse=True)
def _migrated(_servers: Path) -> None:
    """Most tests are not about a gateway's first start, which takes it longer than all others."""
    server = EmbeddedPostgres(_servers / "migrated", durable=False)
    try:
        run_aside(migrate(server.start()))
    finally:
        server.stop()
    Gateway.servers, Gateway.migrated = _servers, server.folder


@pytest.fixture(scope="session")
def gateway(httpbin: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all tests that leave it as they found it."""
    with running(tmp_path_factory.mktemp("gateway"), httpbin) as started:
        yield started
        assert '"traceback"' not in started.log, started.log


@pytest.fixture
def own_gateway(httpbin: int, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that the test may hurt."""
    with running(tmp_path, httpbin) as started:
        yield started

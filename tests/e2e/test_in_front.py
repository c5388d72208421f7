"""HAProxy and nginx in front of the gateway, where installed: whom they name, and what restarts look like."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import Gateway, eventually, running
from tests.e2e.load import Load, Loop, Upstream, everybody
from tests.ports import free_port

CERTS = Path(__file__).parents[1] / "integration" / "dataplane" / "certs"
POLICIES = """
upstreams:
  up: {{targets: [http://127.0.0.1:{port}]}}
tiers:
  paid: {{limits: [{{name: burst, rate: 100000/second, burst: 100000}}]}}
admission: {{on_store_loss: allow}}  # a machine that is busy with other tests may keep Redis waiting
routes:
  - {{name: five, match: {{path: /five}}, upstream: up, addresses: {{allow: [127.0.0.5]}}}}
  - {{name: all, match: {{path: /**}}, upstream: up}}
"""
HAPROXY = """
global
    no strict-limits
defaults
    mode {mode}
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 10s
listen front
    bind 127.0.0.1:{front}
    server gateway 127.0.0.1:{listen} check inter 100ms {options}
"""
NGINX = """
daemon off;
pid {folder}/nginx.pid;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateway {{ server 127.0.0.1:{listen}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{front};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
        }}
    }}
}}
"""


@contextlib.contextmanager
def gateway_of(folder: Path, upstream: Upstream, **settings: str) -> Iterator[Gateway]:
    (folder / "policies").mkdir()
    (folder / "policies" / "all.yaml").write_text(POLICIES.format(port=upstream.port))
    with running(folder, upstream.port, **settings) as gateway:
        yield gateway


@contextlib.contextmanager
def in_front(port: int, *command: str) -> Iterator[None]:
    """A proxy for as long as the block lasts."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(partial(listens, port), "it listens")
            yield
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)):
        return True


def haproxy(folder: Path, gateway: Gateway, front: int, options: str, mode: str = "tcp") -> list[str]:
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(front=front, listen=gateway.listen, options=options, mode=mode))
    return ["haproxy", "-q", "-db", "-f", str(config)]


@pytest.mark.parametrize(
    ("case", "options", "mode"),
    [
        ("version 1", "send-proxy", "http"),
        ("version 2", "send-proxy-v2", "http"),
        ("with all its fields", "send-proxy-v2 proxy-v2-options crc32c,authority", "http"),
        ("TLS behind it, made by HAProxy", "send-proxy-v2-ssl-cn ssl verify none", "http"),
        ("TLS behind it, made by the caller", "send-proxy", "tcp"),
    ],
)
def test_the_caller_is_whom_haproxy_names(
    case: str, options: str, mode: str, upstream: Upstream, tmp_path: Path
) -> None:
    settings = {"TOLLWAY_TRUSTED_PROXIES": "127.0.0.1", "TOLLWAY_PROXY_PROTOCOL": "trusted"}
    if "TLS" in case:
        chain, key = CERTS / "first.crt", CERTS / "first.key"
        settings |= {"TOLLWAY_TLS_CERT": str(chain), "TOLLWAY_TLS_KEY": str(key)}
    with gateway_of(tmp_path, upstream, **settings) as gateway:
        paid, front = gateway.customer("paid"), free_port()
        path, only = f"/accounts/{paid.account}/keys", {"name": "five", "only_networks": ["127.0.0.5/32"]}
        kept = gateway.admin("POST", path, json=only)["secret"]
        but = {"name": "not five", "not_networks": ["127.0.0.5/32"]}
        left_out = gateway.admin("POST", path, json=but)["secret"]

        def call(address: str, path: str = "/five", secret: str = paid.secret) -> str:
            url = f"{'https' if mode == 'tcp' else 'http'}://localhost:{front}{path}"
            command = [
                "curl",
                "-4",
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--max-time",
                "20",
                "--cacert",
            ]
            command += [str(CERTS / "first.crt"), "--interface", address, "-H", f"X-API-Key: {secret}", url]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout

        with in_front(front, *haproxy(tmp_path, gateway, front, options, mode)):
            eventually(lambda: call("127.0.0.5") == "200", "HAProxy has found it well")
            assert call("127.0.0.6") == "403", "the route is kept to others"
            assert call("127.0.0.6", "/") == "200"
            assert [call(address, "/", kept) for address in ("127.0.0.5", "127.0.0.6")] == ["200", "403"]
            assert [call(address, "/", left_out) for address in ("127.0.0.5", "127.0.0.6")] == ["403", "200"]
        assert gateway.counted("proxy_protocol_errors_total") == 0, "nor are its checks an error"


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_restarts_and_reloads_under_load_are_not_seen_behind_a_proxy_that_keeps_connections(
    name: str, upstream: Upstream, loop: Loop, tmp_path: Path
) -> None:
    """It tries nothing twice, so each connection that closed under a call would be an answer of 502."""
    with gateway_of(tmp_path, upstream) as gateway:
        secret, front = gateway.customer("paid").secret, free_port()
        if name == "nginx":
            config = tmp_path / "nginx.conf"
            config.write_text(NGINX.format(folder=tmp_path, front=front, listen=gateway.listen))
            command = ["nginx", "-e", "stderr", "-p", str(tmp_path), "-c", str(config)]
        else:
            command = haproxy(tmp_path, gateway, front, "", "http\n    retries 0\n    http-reuse always")
        with in_front(front, *command), loop.load(front, secret, everybody) as load:
            for times in (1, 2):
                answered = load.answered
                eventually(partial(has_answered, load, answered + 200), "the load is on")
                send(gateway, signal.SIGUSR2)
                send(gateway, signal.SIGHUP)
                eventually(partial(told, gateway, times), "replaced", 60)
        assert load.lost == []
        assert set(load.statuses) == {200}


def has_answered(load: Load, count: int) -> bool:
    return load.answered > count


def told(gateway: Gateway, times: int) -> bool:
    return gateway.log.count("rolling restart done") >= times


def send(gateway: Gateway, number: signal.Signals) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(number)


def test_a_gateway_that_leaves_is_left_before_it_goes(upstream: Upstream, loop: Loop, tmp_path: Path) -> None:
    """HAProxy asks two of them whether they are ready; one stops under load."""
    stays, leaves = tmp_path / "stays", tmp_path / "leaves"
    for folder in (stays, leaves):
        folder.mkdir()
    with (
        gateway_of(stays, upstream) as other,
        gateway_of(leaves, upstream, TOLLWAY_DRAIN_DELAY_S="8") as gone,
    ):
        front, secret = free_port(), other.customer("paid").secret
        known = gone.admin("POST", "/accounts", json={"name": "the same", "tier": "paid"})["id"]
        digest = hashlib.sha256(secret.encode()).hexdigest()
        gone.admin("POST", f"/accounts/{known}/keys/import", json={"sha256": digest, "name": "the same"})
        options = f"check port {gone.control} fall 1 rise 1\n    option httpchk GET /readyz\n    retries 0\n"
        options += (
            f"    server other 127.0.0.1:{other.listen} check port {other.control} inter 100ms fall 1 rise 1"
        )
        command = haproxy(tmp_path, gone, front, options, "http\n    http-reuse always")
        with in_front(front, *command), loop.load(front, secret, everybody) as load:
            eventually(partial(has_answered, load, 300), "the load is on")
            assert gone.stop() == 0
            eventually(partial(has_answered, load, load.answered + 300), "the other one serves")
        assert load.lost == []
        assert set(load.statuses) == {200}

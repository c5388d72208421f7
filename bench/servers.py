"""Starts what is measured and what that needs; stops all of it in reverse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.machine import BenchError, free_port, listener_below, pin, wait_for_port
from bench.measure import PATH, Candidate
from bench.nginx import BODY, HEADER_COUNT, proxy_command, upstream_command

POLICIES = Path(__file__).parent / "policies"
UPSTREAM_PORT = 9100  # as in the bench policies
NGINX_PORT = 9101
AIOHTTP_PORT = 9102
GATEWAY_PORT = 9110  # control and portal follow
EXACT_PORT = 9120
NO_KEY = "none"


@contextmanager
def all_candidates(folder: Path, core: int) -> Iterator[list[Candidate]]:
    """Everything side by side, each measured process on `core`. All data below `folder`."""
    with ExitStack() as stack:
        stack.enter_context(
            _server(folder, "upstream", upstream_command(folder, UPSTREAM_PORT), UPSTREAM_PORT)
        )
        nginx = stack.enter_context(
            _server(folder, "nginx", proxy_command(folder, NGINX_PORT, UPSTREAM_PORT), NGINX_PORT)
        )
        command = [sys.executable, "-m", "bench.aiohttp_proxy", str(AIOHTTP_PORT)]
        aiohttp = stack.enter_context(
            _server(folder, "aiohttp", [*command, f"http://127.0.0.1:{UPSTREAM_PORT}"], AIOHTTP_PORT)
        )
        candidates = [
            Candidate("nginx, plain proxy", NGINX_PORT, nginx.pid, NO_KEY),
            stack.enter_context(_gateway(folder / "plentiful", "Tollway, plentiful limits", GATEWAY_PORT)),
            stack.enter_context(
                _gateway(folder / "exact", "Tollway, every call decided by Redis", EXACT_PORT)
            ),
            Candidate("aiohttp handler + ClientSession", AIOHTTP_PORT, aiohttp.pid, NO_KEY),
        ]
        for candidate in candidates:
            pin(candidate.pid, core)
            check(candidate)
        yield candidates


def check(candidate: Candidate) -> None:
    """One call must bring back exactly what the upstream says; else the figures would mean nothing."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{candidate.port}{PATH}", headers={"X-API-Key": candidate.key}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            body, headers = answer.read().decode(), len(answer.headers)
    except (urllib.error.URLError, TimeoutError) as error:
        raise BenchError(f"{candidate.name} does not answer: {error}") from error
    # urllib asks for `Connection: close`, so nginx's own headers are all there; a gateway adds some.
    if body != BODY or headers < HEADER_COUNT - 1:
        raise BenchError(f"{candidate.name} changed the upstream's answer")


@contextmanager
def _server(
    folder: Path, name: str, command: list[str], port: int, environ: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    free_port(port)
    log = folder / f"{name}.out"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
    try:
        try:
            wait_for_port(port)
        except BenchError as error:
            raise BenchError(f"{name} did not start: {error}\n{log.read_text()[-2000:]}") from error
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _gateway(folder: Path, name: str, port: int) -> Iterator[Candidate]:
    folder.mkdir()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TOLLWAY_")}
    environ |= {
        "TOLLWAY_DATA_DIR": str(folder / "data"),
        "TOLLWAY_POLICIES": str(POLICIES / folder.name),
        "TOLLWAY_LOG_LEVEL": "warning",
    }
    tollway = [sys.executable, "-m", "gateway"]
    command = [*tollway, "run", "--workers", "1"]
    for place, option in enumerate(("--listen", "--control", "--portal")):
        command += [option, f"127.0.0.1:{port + place}"]
    with _server(folder, name, command, port, environ) as process:
        _wait_until_ready(port + 1)
        create = [*tollway, "account", "create", "--name", "bench", "--tier", "plentiful", "--json"]
        account = json.loads(subprocess.check_output(create, env=environ))
        create = [*tollway, "key", "create", "--account", account["id"], "--json"]
        key = json.loads(subprocess.check_output(create, env=environ))
        yield Candidate(name, port, listener_below(process.pid, port), key["secret"])


def _wait_until_ready(control_port: int, *, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{control_port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise BenchError(f"the gateway is not ready after {patience_s:.0f} s")

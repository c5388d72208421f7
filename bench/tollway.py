"""This gateway, run as its users run it: `tollway run`, its own Postgres and Redis, a key it minted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.candidate import Candidate
from bench.machine import BenchError, listeners_below, named_below
from bench.processes import Place, server
from gateway.accounts.keys import mint
from gateway.model.principal import Mode

POLICIES = Path(__file__).parent / "policies"
DOES = {
    "plentiful": "SHA-256 of the key; a rate and a quota from leases; RateLimit fields; journal",
    "exact": "SHA-256 of the key; a rate and a quota by one Redis script; RateLimit fields; journal",
}
TITLES = {"plentiful": "Tollway, plentiful limits", "exact": "Tollway, every call decided by Redis"}
ACCOUNTS = 64
"""Calls that pay into the same counters in one moment are decided together; those of so many are not."""
SOAK = "soak"
"""Policies for one gateway alone, which is not compared with others."""


@contextmanager
def tollway(
    place: Place, port: int, policies: str = "plentiful", workers: int = 1, **settings: str
) -> Iterator[Candidate]:
    """A gateway on `bench/policies/<policies>`; the control plane's ports follow `port`."""
    folder = place.folder / f"tollway-{policies}-{workers}"
    folder.mkdir()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TOLLWAY_")}
    environ |= {
        "TOLLWAY_DATA_DIR": str(folder / "data"),
        "TOLLWAY_POLICIES": str(POLICIES / policies),
        "TOLLWAY_LOG_LEVEL": "warning",
        "TOLLWAY_MAX_CONNECTIONS_PER_ADDRESS": "20000",  # all callers of the benchmark share one
        **settings,
    }
    command = [sys.executable, "-m", "gateway"]
    options = ["run", "--workers", str(workers)]
    for offset, option in enumerate(("--listen", "--control", "--portal")):
        options += [option, f"127.0.0.1:{port + offset}"]
    with server(folder, "tollway", [*command, *options], port, environ) as process:
        _wait_until_ready(port + 1)
        account = _json([*command, "account", "create", "--name", "bench", "--tier", "plentiful"], environ)
        key = _json([*command, "key", "create", "--account", account["id"]], environ)
        title = TITLES.get(policies, "Tollway") + (f", {workers} workers" if workers > 1 else "")
        pids = listeners_below(process.pid, port)
        if len(pids) != workers:
            raise BenchError(f"{title}: {len(pids)} processes listen on port {port}")
        keys = _load_accounts(command, environ) if policies == "exact" else ()
        recognises = policies == "plentiful"
        store = named_below(process.pid, "redis-server")
        yield Candidate(
            title, port, pids, DOES.get(policies, ""), key["secret"], recognises, keys=keys, store_pids=store
        )


def _load_accounts(command: list[str], environ: dict[str, str]) -> tuple[str, ...]:
    """Keys of as many accounts."""
    secrets = tuple(mint("tw", Mode.LIVE).secret for _ in range(ACCOUNTS))
    table = "".join(f"{secret},bench-{number},plentiful\n" for number, secret in enumerate(secrets))
    loading = [*command, "key", "load", "-"]
    subprocess.run(
        loading,
        env=environ,
        input=f"key,account,tier\n{table}",
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return secrets


def _json(command: list[str], environ: dict[str, str]) -> dict[str, str]:
    done: dict[str, str] = json.loads(subprocess.check_output([*command, "--json"], env=environ))
    return done


def _wait_until_ready(control_port: int, *, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{control_port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise BenchError(f"the gateway is not ready after {patience_s:.0f} s")

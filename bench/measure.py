"""One second of wrk against one server, and what it cost that server."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from bench.candidate import HEADERS, PATH, Candidate
from bench.machine import BenchError, cpu_s

CONNECTIONS = 64
VARIED = Path(__file__).parent / "varied.lua"
IN_TURN = Path(__file__).parent / "accounts.lua"

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True, slots=True)
class Round:
    """One measured second. `fault` is empty when every answer was a good one."""

    requests: int
    cpu_us: float  # per request
    per_s: float
    p50_ms: float
    p99_ms: float
    fault: str = ""
    store_us: float | None = None  # of its Redis's CPU, per request


def measure(candidate: Candidate, seconds: int) -> Round:
    """Load one server as fast as it answers, and read its CPU time before and after."""
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
    command += ["--latency", "--timeout", "5s"]
    for line in (*HEADERS, f"X-API-Key: {candidate.key}"):
        command += ["--header", line]
    if candidate.varied:
        command += ["--script", str(VARIED)]
    if candidate.in_turn:
        command += ["--script", str(IN_TURN)]
    keys = candidate.keys if candidate.in_turn else ()
    before, of_store = cpu_s(*candidate.pids), cpu_s(*candidate.store_pids)
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{candidate.port}{PATH}", *keys],
        capture_output=True,
        text=True,
        check=False,
    )
    measured = read_wrk(done.stdout, cpu_s(*candidate.pids) - before)
    if candidate.store_pids and measured.requests:
        store_us = (cpu_s(*candidate.store_pids) - of_store) * 1e6 / measured.requests
        return replace(measured, store_us=store_us)
    return measured


def read_wrk(output: str, used_s: float) -> Round:
    """What wrk printed, as figures. BenchError if it is not what wrk prints."""
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    latency = {name: float(value) * _UNITS_MS[unit] for name, value, unit in _percentiles(output)}
    if not (requests and rate and "50" in latency and "99" in latency):
        raise BenchError(f"wrk printed something unknown: {output[:200]!r}")
    count = int(requests[1])
    faults = re.findall(r"Non-2xx or 3xx responses: \d+|Socket errors: [^\n]+", output)
    if not count:
        return Round(0, 0.0, 0.0, 0.0, 0.0, "no answer at all")
    return Round(
        requests=count,
        cpu_us=used_s * 1e6 / count,
        per_s=float(rate[1]),
        p50_ms=latency["50"],
        p99_ms=latency["99"],
        fault="; ".join(faults),
    )


def _percentiles(output: str) -> list[tuple[str, str, str]]:
    return re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)$", output, re.MULTILINE)

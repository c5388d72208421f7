"""Latency that each server adds when it is half busy, by an open loop at a constant rate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import median

from bench.candidate import Candidate, request_bytes
from bench.candidates import UPSTREAM_PORT
from bench.measure import measure
from bench.openloop import CONNECTIONS, Latencies, load
from bench.report import markdown, row, void
from bench.rounds import take_turns
from bench.upstream import BODY

NAME = "latency"
ROUNDS = 3
MOST_PER_S = 10_000
"""What the load generator, which shares a core with the upstream, sends without falling behind."""

HEAD = ("server", "calls/s", "p50", "p99", "added p50", "added p99", "sent late p99")


def run(candidates: list[Candidate], rounds: int, seconds: int) -> str:
    """Markdown. Half of what each was just seen to do; straight to the upstream at the same rate before."""
    seen = take_turns("half load", candidates, 1, partial(measure, seconds=1))
    rates = {name: min(MOST_PER_S, found[0].per_s / 2) for name, found in seen.items()}
    usable = [candidate for candidate in candidates if rates[candidate.name] >= 1]

    def once(candidate: Candidate) -> tuple[Latencies, Latencies]:
        straight = replace(candidate, port=UPSTREAM_PORT)
        rate = rates[candidate.name]
        return _load(straight, rate, seconds), _load(candidate, rate, seconds)

    results = take_turns(NAME, usable, rounds, once)
    rows = [_row(name, rates[name], found) for name, found in results.items()]
    method = (
        f"{rounds} interleaved rounds of {seconds} s, {CONNECTIONS} connections, at half the rate each was "
        f"just seen to reach, at most {MOST_PER_S:,}; medians. Latency counts from when a call was due. "
        "Added: against the upstream alone at the same rate, right before."
    )
    return f"### Latency at half load\n\n{method}\n\n{markdown(HEAD, rows)}"


def _load(candidate: Candidate, rate: float, seconds: int) -> Latencies:
    return load(candidate.port, request_bytes(candidate), BODY.encode(), rate, seconds)


def _row(name: str, rate: float, found: list[tuple[Latencies, Latencies]]) -> str:
    faults = {one.fault for pair in found for one in pair if one.fault}
    if faults:
        return void(name, faults, len(HEAD) - 1)
    figures = (
        median(through.p50_ms for _, through in found),
        median(through.p99_ms for _, through in found),
        median(through.p50_ms - straight.p50_ms for straight, through in found),
        median(through.p99_ms - straight.p99_ms for straight, through in found),
        median(through.late_ms for _, through in found),
    )
    return row(name, f"{rate:,.0f}", *(f"{figure:.2f} ms" for figure in figures))

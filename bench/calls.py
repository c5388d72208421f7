"""Short calls as fast as each server answers them: CPU per call, calls per second, latency at saturation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bench.candidate import Candidate
from bench.candidates import check
from bench.measure import CONNECTIONS, measure
from bench.report import table
from bench.rounds import take_turns

NAME = "calls"
ROUNDS = 7


def run(candidates: list[Candidate], rounds: int, seconds: int) -> str:
    """Markdown. Every candidate is warmed up for a second first: connections, caches, leases."""
    candidates = [variant for candidate in candidates for variant in _variants(candidate)]
    take_turns("warming up", candidates, 1, partial(measure, seconds=1))
    results = take_turns(NAME, candidates, rounds, partial(measure, seconds=seconds))
    for candidate in candidates:
        check(candidate)
    does = {candidate.name: candidate.does for candidate in candidates}
    method = (
        f"{rounds} interleaved rounds of {seconds} s, {CONNECTIONS} connections, 84-byte answers; medians. "
        "With 2 workers both are counted, and calls/s are those of two cores."
    )
    return f"### Calls at saturation\n\n{method}\n\n{table(results, does)}"


def _variants(candidate: Candidate) -> list[Candidate]:
    found = [candidate]
    if candidate.recognises and len(candidate.pids) == 1:
        found.append(replace(candidate, name=f"{candidate.name}, no two heads alike", varied=True))
    if candidate.keys:
        count = len(candidate.keys)
        found.append(replace(candidate, name=f"{candidate.name}, {count} accounts in turn", in_turn=True))
    return found

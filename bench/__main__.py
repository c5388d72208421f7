"""`python -m bench [--rounds N] [--seconds N] [--write]` measures and prints the table."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import BenchError, describe, two_cores
from bench.measure import Candidate, Round, measure
from bench.report import table
from bench.servers import all_candidates, check

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> int:
    """0, or 1 with one line on what is missing or went wrong."""
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=12, help="how often each server is measured (12)")
    options.add_argument("--seconds", type=int, default=1, help="how long each time (1)")
    options.add_argument("--write", action="store_true", help="append the table to docs/benchmarks.md")
    given = options.parse_args()
    missing = [name for name in ("nginx", "wrk") if shutil.which(name, path=_search_path()) is None]
    if missing:
        print("The benchmark needs nginx and wrk: apt-get install nginx wrk", file=sys.stderr)
        return 1
    os.environ["PATH"] = _search_path()
    try:
        text = run(max(1, given.rounds), max(1, given.seconds))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(text)
    if given.write:
        with RESULTS.open("a") as file:
            file.write(f"\n{text}")
    return 0


def run(rounds: int, seconds: int) -> str:
    """Measure everything and describe it in markdown."""
    measured, rest = two_cores()
    machine = describe()
    os.sched_setaffinity(0, {rest})  # and so every child, until it is pinned elsewhere
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        Path(folder).chmod(0o755)
        with all_candidates(Path(folder), measured) as candidates:
            for candidate in candidates:
                measure(candidate, 1)  # warm: connections, caches, leases
            results = _take_turns(candidates, rounds, seconds)
            for candidate in candidates:
                check(candidate)
    title = f"## {datetime.now(UTC):%Y-%m-%d}: {machine}"
    method = f"{rounds} interleaved rounds of {seconds} s, 64 connections, 84-byte answers; medians."
    return f"{title}\n\n{method}\n\n{table(results)}\n"


def _take_turns(candidates: list[Candidate], rounds: int, seconds: int) -> dict[str, list[Round]]:
    results: dict[str, list[Round]] = {candidate.name: [] for candidate in candidates}
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        for candidate in candidates:
            results[candidate.name].append(measure(candidate, seconds))
    print("\r\033[K", end="", file=sys.stderr)
    return results


def _search_path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where Debian keeps nginx


if __name__ == "__main__":
    sys.exit(main())

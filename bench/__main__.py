"""Measures Tollway next to what else one could put there, and prints tables."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import accounts, bodies, calls, history, idle, latency, ledger, refusals, stages, websocket
from bench.candidate import Candidate
from bench.candidates import running
from bench.machine import BenchError, cores_to_use, describe
from bench.processes import stop_when_asked

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks.md"


Run = Callable[[list[Candidate], int, int], str]
PARTS: dict[str, tuple[Run, int]] = {
    calls.NAME: (calls.run, calls.ROUNDS),
    latency.NAME: (latency.run, latency.ROUNDS),
    bodies.NAME: (bodies.run, bodies.ROUNDS),
    websocket.NAME: (websocket.run, websocket.ROUNDS),
    idle.NAME: (idle.run, idle.ROUNDS),
}
ALONE: dict[str, Callable[[], str]] = {
    stages.NAME: stages.run,
    accounts.NAME: accounts.run,
    ledger.NAME: ledger.run,
    history.NAME: history.run,
    refusals.NAME: refusals.run,
}
"""What is measured of Tollway alone."""


def main() -> int:
    """0, or 1 with one line on what is missing or went wrong."""
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = (*PARTS, *ALONE)
    options.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(names)}; without any: all")
    options.add_argument("--rounds", type=int, help="how often each server is measured, for every part")
    options.add_argument("--seconds", type=int, default=1, help="how long each time (1)")
    options.add_argument(
        "--millions",
        type=float,
        default=history.MILLIONS,
        help=f"calls in {history.NAME} ({history.MILLIONS:g})",
    )
    options.add_argument("--write", action="store_true", help="append the tables to docs/benchmarks.md")
    given = options.parse_args()
    unknown = [name for name in given.parts if name not in names]
    if unknown:
        options.error(f"{unknown[0]!r} is none of {', '.join(names)}")
    stop_when_asked()
    try:
        ALONE[history.NAME] = partial(history.run, given.millions)
        text = _run(given.parts or list(names), given.rounds, max(1, given.seconds))
    except BenchError as error:
        print(f"\nbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(text)
    if given.write:
        with RESULTS.open("a") as file:
            file.write(f"\n{text}\n")
    return 0


def _run(names: list[str], rounds: int | None, seconds: int) -> str:
    """Measure these parts and describe them in markdown."""
    machine = describe()
    sections = []
    servers = [name for name in PARTS if name in names]
    if servers:
        sections += _beside_others(servers, rounds, seconds)
    sections += [run() for name, run in ALONE.items() if name in names]
    print("\r\033[K", end="", file=sys.stderr)
    return "\n\n".join([f"## {datetime.now(UTC):%Y-%m-%d}: {machine}", *sections])


def _beside_others(names: list[str], rounds: int | None, seconds: int) -> list[str]:
    os.environ["PATH"] = path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where Debian keeps nginx
    if any(shutil.which(name, path=path) is None for name in ("nginx", "wrk")):
        raise BenchError("nginx and wrk are not installed: apt-get install nginx wrk")
    cores = cores_to_use()
    os.sched_setaffinity(0, {cores[1]})  # and so every child, until it is pinned elsewhere
    sections = []
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder), frozenset(names), cores) as found:
            for name in names:
                run, usual = PARTS[name]
                sections.append(run(found.of(name), max(1, rounds or usual), seconds))
            if found.missing:
                lines = "\n".join(f"- {name}: `{install}`" for name, install in found.missing.items())
                sections.append(f"Not measured, because not installed:\n\n{lines}")
    return sections


if __name__ == "__main__":
    sys.exit(main())

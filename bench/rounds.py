"""Candidates take turns, so that noise of the machine hits all of them alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from bench.candidate import Candidate

T = TypeVar("T")


def take_turns(
    title: str, candidates: list[Candidate], rounds: int, once: Callable[[Candidate], T]
) -> dict[str, list[T]]:
    """What `once` found in each round, by name."""
    results: dict[str, list[T]] = {candidate.name: [] for candidate in candidates}
    for number in range(rounds):
        for candidate in candidates:
            say(f"{title}: round {number + 1} of {rounds}, {candidate.name}")
            results[candidate.name].append(once(candidate))
    return results


def say(text: str) -> None:
    """Progress, on one line that is written over."""
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

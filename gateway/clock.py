"""Time, handed in wherever it is needed so that tests own it."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns, time_ns
from typing import Protocol


class Clock(Protocol):
    """What the gateway wants to know about time."""

    def now_us(self) -> int:
        """Wall clock, microseconds since the epoch, UTC. May step."""

    def monotonic_us(self) -> int:
        """Microseconds from some start. Never steps back; for durations only."""


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        return time_ns() // 1000

    def monotonic_us(self) -> int:
        return monotonic_ns() // 1000


class OffClock(SystemClock):
    """The machine's clocks, but the wall clock is off by `off_us[0]`, whatever that is at the moment."""

    def __init__(self, off_us: Sequence[int]) -> None:
        self._off_us = off_us

    def now_us(self) -> int:
        return super().now_us() + self._off_us[0]


class ManualClock:
    """A clock that moves only when told, for tests and replays."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic_us = 0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_us(self) -> int:
        return self._monotonic_us

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_us += round(seconds * 1_000_000)
        self._monotonic_us += round(seconds * 1_000_000)

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone, as an operator or NTP would."""
        self._now_us += round(seconds * 1_000_000)

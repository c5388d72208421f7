"""Trying again without making an outage worse."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from gateway.deadlines import NEVER
from gateway.model.policies import Retries
from gateway.telemetry.slots import Slots

Reason = Literal["connect", "stale"]
WINDOW_TICKS = 10
"""A tick is about a second."""


class Budget:
    """How many retries an upstream's calls may make together: a share of the calls of the last ten ticks.

    When everything fails, everything would be retried, and the load on what is left would double. With a
    budget it grows by a share at most.
    """

    __slots__ = ("_calls", "_marks", "_retries", "_spec")

    def __init__(self, spec: Retries, calls: Callable[[], int]) -> None:
        """`calls` tells how many there have been so far."""
        self._spec = spec
        self._calls = calls
        self._retries = 0
        self._marks: deque[tuple[int, int]] = deque(((0, 0),), WINDOW_TICKS)  # calls and retries, each tick

    def tick(self) -> None:
        """A second has passed."""
        self._marks.append((self._calls(), self._retries))

    def take(self) -> bool:
        """Whether one more retry is within the budget; if so, it is spent."""
        calls, retries = self._marks[0]
        allowed = self._spec.at_least + (self._calls() - calls) * self._spec.percent // 100
        if self._retries - retries >= allowed:
            return False
        self._retries += 1
        return True


class Tries:
    """How often one call may still be tried again. Made when something goes wrong for the first time."""

    __slots__ = ("_budget", "_left", "_slots", "_spec")

    def __init__(self, spec: Retries, budget: Budget, slots: Slots) -> None:
        self._spec = spec
        self._budget = budget
        self._slots = slots
        self._left = spec.attempts

    def again(self, reason: Reason, *, unsent: bool = False) -> bool:
        """Whether the call may be tried again for this reason; counted either way.

        What was given to a connection but is `unsent` is no load for anybody, so it needs no budget.
        """
        wanted = self._spec.connect if reason == "connect" else self._spec.stale
        if not wanted or not self._left:
            return False
        if not unsent and not self._budget.take():
            self._slots.add("upstream_retries_denied_total")
            return False
        self._left -= 1
        self._slots.add("upstream_retries_total", 1, reason)
        return True


class Ticker:
    """Ticks a budget. One of the things the sweep of deadlines looks at."""

    def __init__(self, budget: Budget, now: float) -> None:
        self._budget = budget
        self.deadline = self._next = now + 1.0

    def expire(self) -> None:
        """Deadlines: another second."""
        self._next += 1.0
        self.deadline = self._next
        self._budget.tick()

    def stop(self) -> None:
        """No more."""
        self.deadline = NEVER

"""Overload protection: a worker that can not keep up turns new calls away instead of making all of them slow.

Two things are watched, both of this process alone: how late its loop runs timers, and how much memory it has.
Waiting for Redis, Postgres or an upstream costs neither, however long it takes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.dataplane")

LOOK_S = 0.1
MEMORY_LOOK_S = 1.0

SUSTAINED_S = 1.0
"""The loop is late for this long before calls are turned away: one pause of whatever kind does not count."""
SAMPLES_MIN = 3
CALM_S = 5.0
"""The loop is in time for this long, turning nobody away, before it is over."""
SHARE_STEP = 0.1
SHARE_MAX = 0.9
"""Some calls always pass: if turning away does not help, it is not the calls that make the loop late."""
EASE_PER_S = 0.2
MEMORY_EASED = 0.9
"""Memory must fall this far below its bound."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a worker may come to; 0: whatever it likes."""

    lag_s: float = 0.25
    memory_bytes: int = 0


class LagGuard:
    """What share of new calls to turn away, from how late the loop is. Grows fast, eases slowly."""

    def __init__(self, bound_s: float) -> None:
        self.share = 0.0
        self.is_on = False
        self._bound_s = bound_s
        self._late_since_s: float | None = None
        self._late_samples = 0
        self._calm_since_s: float | None = None
        self._eased_at_s = 0.0

    def sample(self, lag_s: float, now_s: float) -> None:
        """Take note of one look at the loop. Between half the bound and the bound nothing changes."""
        if not self._bound_s:
            return
        if lag_s >= self._bound_s:
            self._late(lag_s, now_s)
        else:
            self._late_since_s = None
            self._late_samples = 0
            if lag_s < self._bound_s / 2:
                self._in_time(now_s)
            else:
                self._calm_since_s = None
        self._eased_at_s = now_s

    def _late(self, lag_s: float, now_s: float) -> None:
        self._calm_since_s = None
        self._late_samples += 1
        if self._late_since_s is None:
            self._late_since_s = now_s - lag_s
        lasts = now_s - self._late_since_s >= SUSTAINED_S and self._late_samples >= SAMPLES_MIN
        if self.is_on or lasts:
            self.is_on = True
            self.share = min(SHARE_MAX, self.share + SHARE_STEP)

    def _in_time(self, now_s: float) -> None:
        if not self.is_on:
            return
        self.share = max(0.0, self.share - EASE_PER_S * (now_s - self._eased_at_s))
        if self.share:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now_s
        elif now_s - self._calm_since_s >= CALM_S:
            self.is_on = False


class MemoryGuard:
    """Whether the process has more memory than it may; over only when it is well below again."""

    def __init__(self, bound_bytes: int) -> None:
        self.is_on = False
        self._bound_bytes = bound_bytes

    def sample(self, memory_bytes: int) -> None:
        """Take note of one measurement."""
        bound = self._bound_bytes * MEMORY_EASED if self.is_on else self._bound_bytes
        self.is_on = bool(bound) and memory_bytes >= bound


class Overload:
    """The guards of one worker, fed by `watch`. Requests look at `share` alone."""

    def __init__(
        self,
        bounds: Bounds,
        slots: Slots,
        clock: Clock,
        memory: Callable[[], int],
        give_back: Callable[[], None],
    ) -> None:
        """`memory` measures this process in bytes, `give_back` returns to the system what is free."""
        self.share = 0.0  # of new calls that are turned away
        self._lag = LagGuard(bounds.lag_s)
        self._memory_guard = MemoryGuard(bounds.memory_bytes)
        self._slots, self._clock = slots, clock
        self._memory, self._give_back = memory, give_back
        self._looked_at_s = 0.0
        self._due = 0.0
        self._shed_slots = {cause: slot("overload_shed_total", cause) for cause in ("lag", "memory")}
        self._show()

    def sheds(self) -> bool:
        """Whether the call at hand is one of the share that is turned away."""
        self._due += self.share
        if self._due < 1:
            return False
        self._due -= 1
        self._slots.cells[self._shed_slots["memory" if self._memory_guard.is_on else "lag"]] += 1
        return True

    async def watch(self) -> None:
        """Look at the loop and the memory until cancelled."""
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(LOOK_S)
            now_s = time.monotonic()
            self.look(max(0.0, now_s - before_s - LOOK_S), now_s)

    def look(self, lag_s: float, now_s: float) -> None:
        """One look: the loop was this late; the memory is measured once in a while."""
        self._slots.observe_us("loop_lag_seconds", round(lag_s * 1_000_000))
        lag, memory = self._lag, self._memory_guard
        was_lag, was_memory = lag.is_on, memory.is_on
        lag.sample(lag_s, now_s)
        if now_s - self._looked_at_s >= MEMORY_LOOK_S:
            self._looked_at_s = now_s
            self._look_at_memory()
        self.share = 1.0 if memory.is_on else lag.share
        if was_lag is not lag.is_on:
            _tell("the loop is late", "the loop is in time", is_on=lag.is_on)
        if was_memory is not memory.is_on:
            _tell("memory is at its bound", "memory is well below its bound", is_on=memory.is_on)
        if (was_lag, was_memory) != (lag.is_on, memory.is_on):
            self._show()

    def _look_at_memory(self) -> None:
        guard = self._memory_guard
        was_on = guard.is_on
        memory_bytes = self._memory()
        guard.sample(memory_bytes)
        if guard.is_on:
            if not was_on:
                gc.collect()
            self._give_back()
        self._slots.set("memory_bytes", memory_bytes)

    def _show(self) -> None:
        slots, lag, memory = self._slots, self._lag.is_on, self._memory_guard.is_on
        slots.set("overloaded", lag, "lag")
        slots.set("overloaded", memory, "memory")
        if not lag and not memory:
            slots.set("overloaded_since_us", 0)
        elif not slots.get("overloaded_since_us"):
            slots.set("overloaded_since_us", self._clock.monotonic_us())


def _tell(begun: str, over: str, *, is_on: bool) -> None:
    if is_on:
        log.warning("overloaded, new calls are turned away with 503: %s", begun)
    else:
        log.info("not overloaded any more: %s", over)

"""When it is said that a key does not work: a set time after the call came, whatever was wrong with it.

Some keys are refused by their checksum, some from memory, some by a question to Postgres. A caller who could
tell these apart by the clock would learn what is remembered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from operator import itemgetter

from gateway.clock import Clock
from gateway.inline import Wait

GRAIN_US = 1_000
"""Refusals of one millisecond share a timer: a flood of bad keys costs a thousand a second, not one each."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls something back in so many seconds."""


class Refusals:
    """Holds refusals back until they are due. What waits is bounded by the connections there are.

    The instant depends on nothing but when the call came, and on chance: a timer is late by what else the
    loop does, a little less or more while somebody asks Postgres. Nor can whoever sends two at once tell by
    their order which took longer: those that are due together go in the order in which they came.
    """

    def __init__(
        self,
        clock: Clock,
        after_ms: int,
        later: Later | None = None,
        *,
        below: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        """`after_ms` 0: nothing is held back. `later`: the running loop's, unless a test has its own.

        `below`: how many us more than that, below the number given; by chance, unless a test says.
        """
        self._below = below
        self._clock, self._after_us, self._later = clock, after_ms * 1000, later
        self._held: dict[int, list[tuple[int, Wait[None]]]] = {}  # by when they are due, with when they came

    def now_us(self) -> int:
        """The monotonic instant, for those who do not know when their call came."""
        return self._clock.monotonic_us()

    async def hold(self, came_us: int) -> None:
        """Return when a call that came then may be refused: at once if finding out took longer than that."""
        if not self._after_us:
            return
        due_us = -(-(came_us + self._after_us + self._below(self._after_us)) // GRAIN_US) * GRAIN_US
        if due_us <= self._clock.monotonic_us():
            return
        held = self._held.get(due_us)
        if held is None:
            held = self._held[due_us] = []
            self._arm(due_us)
        wait: Wait[None] = Wait()
        held.append((came_us, wait))
        await wait

    def _arm(self, due_us: int) -> None:
        # In whole milliseconds, as event loops count: when within one it was found must not show.
        left_ms = (due_us - self._clock.monotonic_us() // GRAIN_US * GRAIN_US) // 1000
        later = self._later or asyncio.get_running_loop().call_later
        later(left_ms / 1000, partial(self._release, due_us))

    def _release(self, due_us: int) -> None:
        if self._clock.monotonic_us() < due_us:
            self._arm(due_us)  # timers may be early by what a loop's idea of now is late
            return
        for _, wait in sorted(self._held.pop(due_us), key=itemgetter(0)):
            wait.set(None)

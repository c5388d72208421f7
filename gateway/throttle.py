"""How often something may be tried: so many times within a span, by whatever tells the tries apart."""

from __future__ import annotations

from collections import OrderedDict

from gateway.clock import Clock

MOST_REMEMBERED = 20_000


class Throttle:
    """Counts tries by text. A try counts when it begins, so that many at once are no way around it.

    Bounded, and one process's view: with several gateways each counts for itself.
    """

    def __init__(self, clock: Clock, most: int, within_s: int) -> None:
        self._clock, self._most, self._within_us = clock, most, within_s * 1_000_000
        self._tries: OrderedDict[str, tuple[int, int]] = OrderedDict()  # since when, how many

    def take(self, who: str) -> int:
        """Count a try. 0, or the seconds until the next one is allowed: then this one must not be made."""
        now_us = self._clock.monotonic_us()
        since_us, count = self._tries.pop(who, (now_us, 0))
        if now_us - since_us >= self._within_us:
            since_us, count = now_us, 0
        allowed = count < self._most
        self._tries[who] = since_us, count + allowed
        if len(self._tries) > MOST_REMEMBERED:
            self._tries.popitem(last=False)
        return 0 if allowed else -(-(since_us + self._within_us - now_us) // 1_000_000)

    def wait_s(self, who: str) -> int:
        """What `take` would answer. Counts nothing."""
        since_us, count = self._tries.get(who, (0, 0))
        left_us = since_us + self._within_us - self._clock.monotonic_us()
        return -(-left_us // 1_000_000) if count >= self._most and left_us > 0 else 0

    def give_back(self, who: str) -> None:
        """The try was none of those that are counted."""
        since_us, count = self._tries.get(who, (0, 0))
        if count > 1:
            self._tries[who] = since_us, count - 1
        elif count:
            del self._tries[who]  # a name that is made up for each try must not push out others

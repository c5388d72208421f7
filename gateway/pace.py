"""How slow a peer may be: silent for a while, or below a rate on average, but not for ever.

It has some seconds in hand, which run while we wait for it and stand still while it waits for us. Each byte
gives a bit back, never more than it had at first. So a body that trickles ends as surely as one that stops.
"""

from __future__ import annotations

from math import inf


class Pace:
    """The seconds that one peer has in hand."""

    __slots__ = ("_bytes", "_bytes_per_s", "_left_s", "_most_s", "_since")

    def __init__(self, most_s: float, bytes_per_s: int) -> None:
        """`bytes_per_s` 0: any byte gives everything back."""
        self._most_s = most_s
        self._bytes_per_s = bytes_per_s
        self._left_s = most_s
        self._bytes = 0
        self._since: float | None = None  # since when the time runs; None: it stands still

    def deadline(self, now: float, count: int, *, paused: bool = False) -> float:
        """Until when more has to come, after `count` bytes in all. Paused, the time stands still: never."""
        if self._since is not None:
            self._left_s -= now - self._since
        if count > self._bytes:
            earned_s = (count - self._bytes) / self._bytes_per_s if self._bytes_per_s else self._most_s
            self._left_s = min(self._most_s, self._left_s + earned_s)
            self._bytes = count
        self._since = None if paused else now
        return inf if paused else now + self._left_s

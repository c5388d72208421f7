"""Guessing is slowed down: an address whose tokens were wrong too often gets no more look-ups for a while."""

from __future__ import annotations

from collections import OrderedDict

from gateway.clock import Clock

MOST_FAILURES = 20
WITHIN_US = 60_000_000
MOST_ADDRESSES = 10_000
MOST_REMEMBERED = 1_000
"""Tokens that worked: whoever shares an address with somebody who guesses goes on working."""


class Attempts:
    """Failures by address within a minute, and what has worked lately. Bounded; one process's view."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()  # address -> since when, how many
        self._worked: OrderedDict[bytes, None] = OrderedDict()

    def wait_s(self, address: str, digest: bytes) -> int:
        """How many seconds from now the address may ask for this token again; 0: now."""
        since_us, count = self._failures.get(address, (0, 0))
        left_us = since_us + WITHIN_US - self._clock.monotonic_us()
        if count < MOST_FAILURES or left_us <= 0 or digest in self._worked:
            return 0
        return -(-left_us // 1_000_000)

    def failed(self, address: str) -> None:
        """A token was wrong."""
        now_us = self._clock.monotonic_us()
        since_us, count = self._failures.pop(address, (now_us, 0))
        if now_us - since_us >= WITHIN_US:
            since_us, count = now_us, 0
        self._failures[address] = since_us, count + 1
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)

    def worked(self, digest: bytes) -> None:
        """A token was right."""
        self._worked[digest] = None
        self._worked.move_to_end(digest)
        if len(self._worked) > MOST_REMEMBERED:
            self._worked.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        """A token works no more."""
        self._worked.pop(digest, None)

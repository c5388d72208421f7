"""Redis's clock, as well as it is known here."""

from __future__ import annotations

from gateway.clock import Clock

DRIFT_US_PER_MS = 1
"""An estimate of Redis's clock ages: clocks drift apart by less than a thousandth."""
STEP_US = 1_000_000
"""An estimate wrong by more than that is not late news: the clock was set."""


class RedisTime:
    """Redis's clock, estimated from its answers.

    An answer is read after it was written, so each one says "at least this much"; the largest counts.
    `time_from` replaces Redis's own clock, for tests.
    """

    __slots__ = ("_clock", "_deadline_ms", "_offset_us", "_seen_us", "_time_from")

    def __init__(self, clock: Clock, deadline_ms: int = 0, time_from: Clock | None = None) -> None:
        self._clock = clock
        self._deadline_ms = deadline_ms
        self._time_from = time_from
        self._seen_us = clock.monotonic_us()
        self._offset_us = clock.now_us() - self._seen_us  # until Redis says otherwise

    def now_ms(self) -> int:
        if self._time_from is not None:
            return self._time_from.now_us() // 1000
        return (self._clock.monotonic_us() + self._offset_us) // 1000

    def given(self) -> str | int:
        """For scripts: what time it is, or that Redis knows best."""
        return "" if self._time_from is None else self._time_from.now_us() // 1000

    def deadline_ms(self) -> int:
        """For scripts: when whoever calls now will have given up. 0: never, by a clock for tests."""
        return 0 if self._time_from is not None else self.now_ms() + self._deadline_ms

    def seen(self, now_ms: int) -> None:
        """Redis just said that it was `now_ms`."""
        if self._time_from is not None:
            return
        seen_us = self._clock.monotonic_us()
        offset_us = now_ms * 1000 - seen_us
        aged_us = self._offset_us - (seen_us - self._seen_us) * DRIFT_US_PER_MS // 1000
        if offset_us > aged_us or aged_us - offset_us > STEP_US:
            self._offset_us, self._seen_us = offset_us, seen_us

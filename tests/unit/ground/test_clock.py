"""Time is handed in."""

from __future__ import annotations

from gateway.clock import ManualClock, OffClock, SystemClock


def test_the_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(now_us=1_000_000)
    assert (clock.now_us(), clock.monotonic_us()) == (1_000_000, 0)
    clock.advance(1.5)
    assert (clock.now_us(), clock.monotonic_us()) == (2_500_000, 1_500_000)


def test_a_stepping_wall_clock_leaves_durations_alone() -> None:
    clock = ManualClock(now_us=1_000_000)
    clock.step_wall(-300)
    assert (clock.now_us(), clock.monotonic_us()) == (-299_000_000, 0)


def test_the_machines_clocks_count_microseconds() -> None:
    clock = SystemClock()
    first = clock.monotonic_us()
    assert clock.monotonic_us() >= first
    assert 1_600_000_000_000_000 < clock.now_us() < 4_000_000_000_000_000


def test_a_clock_that_is_off_may_be_put_off_further_at_any_time() -> None:
    off_us = [0]
    clock, right = OffClock(off_us), SystemClock()
    assert 0 <= clock.now_us() - right.now_us() + 1_000_000 <= 1_000_000
    off_us[0] = -300_000_000
    assert right.now_us() - clock.now_us() >= 300_000_000 - 1_000_000
    assert clock.monotonic_us() <= right.monotonic_us()

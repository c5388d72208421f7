"""What is known here of Redis's clock."""

from __future__ import annotations

import pytest

from gateway.admission.redis_time import RedisTime
from gateway.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_784_000_000_000_000)


def test_before_redis_has_spoken_our_own_clock_has_to_do(clock: ManualClock) -> None:
    time = RedisTime(clock)
    clock.advance(1.5)
    assert time.now_ms() == 1_784_000_001_500


@pytest.mark.parametrize(
    ("case", "said", "now_ms"),
    [
        ("what Redis says counts", [5_000], 5_000),
        ("late news do not set it back", [5_000, 4_950], 5_000),
        ("early ones set it forward", [5_000, 5_030], 5_030),
        ("a clock that was set back is followed", [5_000_000, 5_000], 5_000),
        ("and one that was set forward", [5_000, 5_000_000], 5_000_000),
    ],
)
def test_the_largest_of_its_answers_counts(
    clock: ManualClock, case: str, said: list[int], now_ms: int
) -> None:
    time = RedisTime(clock)
    for answer in said:
        time.seen(answer)
    assert time.now_ms() == now_ms, case


def test_it_goes_on_with_our_monotonic_clock_alone(clock: ManualClock) -> None:
    time = RedisTime(clock)
    time.seen(5_000)
    clock.step_wall(3600)
    clock.advance(2)
    assert time.now_ms() == 7_000


def test_a_clock_that_runs_slower_than_ours_is_followed(clock: ManualClock) -> None:
    time = RedisTime(clock)
    time.seen(5_000)
    clock.advance(100)
    time.seen(104_950)
    assert time.now_ms() == 104_950


def test_scripts_are_told_the_deadline_by_redis_s_clock(clock: ManualClock) -> None:
    time = RedisTime(clock, deadline_ms=100)
    time.seen(5_000)
    assert (time.given(), time.deadline_ms()) == ("", 5_100)


def test_a_clock_of_tests_is_given_and_nobody_is_ever_late(clock: ManualClock) -> None:
    time = RedisTime(clock, 100, time_from=ManualClock(7_000_000))
    time.seen(5_000)
    assert (time.now_ms(), time.given(), time.deadline_ms()) == (7_000, 7_000, 0)

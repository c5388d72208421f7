from __future__ import annotations

from math import inf

from gateway.pace import Pace

MOST_S = 30.0
RATE = 240


def test_silence_ends_when_the_time_in_hand_is_over() -> None:
    pace = Pace(MOST_S, RATE)
    assert pace.deadline(100.0, 0) == 130.0
    assert pace.deadline(110.0, 0) == 130.0, "looking changes nothing"
    assert pace.deadline(131.0, 0) == 130.0


def test_each_byte_gives_a_bit_back() -> None:
    pace = Pace(MOST_S, RATE)
    pace.deadline(0.0, 0)
    assert pace.deadline(20.0, 1200) == 20.0 + 10.0 + 5.0
    assert pace.deadline(20.0, 1440) == 20.0 + 10.0 + 6.0


def test_a_fast_beginning_earns_no_more_than_there_was_at_first() -> None:
    pace = Pace(MOST_S, RATE)
    pace.deadline(0.0, 0)
    assert pace.deadline(1.0, 1_000_000_000) == 31.0
    assert pace.deadline(2.0, 1_000_000_000) == 31.0


def test_a_byte_in_time_does_not_help_for_ever() -> None:
    pace = Pace(MOST_S, RATE)
    now, count = 0.0, 0
    while pace.deadline(now, count) > now:
        now, count = now + 1.0, count + 1
    assert 30.0 <= now <= 31.0


def test_at_the_rate_it_goes_on_for_ever() -> None:
    pace = Pace(MOST_S, RATE)
    for second in range(0, 100_000, 20):
        assert pace.deadline(float(second), second * RATE) > second


def test_time_stands_still_while_the_caller_waits_for_us() -> None:
    pace = Pace(MOST_S, RATE)
    pace.deadline(0.0, 0)
    assert pace.deadline(10.0, 0, paused=True) == inf
    assert pace.deadline(1000.0, 0, paused=True) == inf
    assert pace.deadline(2000.0, 0) == 2020.0


def test_bytes_that_came_before_the_pause_count() -> None:
    pace = Pace(MOST_S, RATE)
    pace.deadline(0.0, 0)
    pace.deadline(20.0, 2400, paused=True)
    assert pace.deadline(50.0, 2400) == 70.0


def test_without_a_rate_any_byte_gives_everything_back() -> None:
    pace = Pace(MOST_S, 0)
    pace.deadline(0.0, 0)
    assert pace.deadline(29.0, 1) == 59.0
    assert pace.deadline(58.0, 1) == 59.0

"""When a worker turns calls away, how many of them, and when it is over. Time is an argument."""

from __future__ import annotations

import logging

import pytest

from gateway.clock import ManualClock
from gateway.dataplane.overload import (
    CALM_S,
    LOOK_S,
    SHARE_MAX,
    SHARE_STEP,
    Bounds,
    LagGuard,
    MemoryGuard,
    Overload,
)
from gateway.telemetry.slots import Slots

BOUND_S = 0.25
IN_TIME, SO_SO, LATE = 0.01, 0.2, 0.3


class Looking:
    """A guard that is looked at as the watch does: every `LOOK_S` and what the loop is late."""

    def __init__(self, bound_s: float = BOUND_S) -> None:
        self.guard = LagGuard(bound_s)
        self.now_s = 100.0

    def look(self, lag_s: float, times: int = 1) -> LagGuard:
        for _ in range(times):
            self.now_s += LOOK_S + lag_s
            self.guard.sample(lag_s, self.now_s)
        return self.guard

    def until_over(self, lag_s: float) -> float:
        began_s = self.now_s
        while self.guard.is_on:
            self.look(lag_s)
        return self.now_s - began_s


@pytest.mark.parametrize(
    ("case", "lags", "is_on"),
    [
        ("in time", [IN_TIME] * 100, False),
        ("a little late all the time", [SO_SO] * 100, False),
        ("one long pause, of a debugger or a suspended machine", [60.0], False),
        ("two of them", [60.0, 60.0], False),
        ("late again and again, with breaks", [LATE, LATE, IN_TIME] * 30, False),
        ("late, but not for a second yet", [LATE] * 2, False),
        ("late for a second", [LATE] * 3, True),
        ("late for long at a time", [1.0] * 3, True),
    ],
)
def test_only_a_loop_that_stays_late_is_overloaded(case: str, lags: list[float], is_on: bool) -> None:
    looking = Looking()
    for lag_s in lags:
        looking.look(lag_s)
    assert looking.guard.is_on is is_on, case
    assert bool(looking.guard.share) is is_on


def test_no_bound_no_overload() -> None:
    assert not Looking(0).look(60.0, times=100).is_on


def test_the_share_grows_while_the_loop_is_late_and_leaves_some_calls_alone() -> None:
    looking = Looking()
    shares = [looking.look(LATE).share for _ in range(20)]
    assert shares == sorted(shares)
    assert shares[-1] == SHARE_MAX < 1


def test_the_share_eases_slowly_when_the_loop_is_in_time_again() -> None:
    looking = Looking()
    share = looking.look(LATE, times=20).share
    assert 0 < share - looking.look(IN_TIME, times=10).share < 0.3


def test_between_half_the_bound_and_the_bound_the_share_stays() -> None:
    looking = Looking()
    share = looking.look(LATE, times=6).share
    assert looking.look(SO_SO, times=50).share == share
    assert looking.guard.is_on


def test_it_is_over_only_after_a_while_of_calm_in_which_nobody_is_turned_away() -> None:
    looking = Looking()
    looking.look(LATE, times=3)
    while looking.guard.share:
        looking.look(IN_TIME)
    assert looking.guard.is_on
    assert looking.until_over(IN_TIME) >= CALM_S


def test_while_it_is_not_over_one_late_look_is_enough() -> None:
    looking = Looking()
    looking.look(LATE, times=3)
    while looking.guard.share:
        looking.look(IN_TIME)
    assert looking.look(LATE).share == SHARE_STEP


def test_a_load_just_above_what_is_possible_does_not_flap() -> None:
    """The loop is late as long as fewer than two in ten calls are turned away."""
    looking = Looking()
    looking.look(LATE, times=3)
    changes = 0
    for _ in range(2000):
        was_on = looking.guard.is_on
        looking.look(LATE if looking.guard.share < 0.2 else IN_TIME)
        changes += was_on is not looking.guard.is_on
    assert changes == 0
    assert 0 < looking.guard.share < 0.5


def test_memory_is_over_its_bound_until_it_is_well_below() -> None:
    guard = MemoryGuard(1000)
    seen = []
    for memory_bytes in (999, 1000, 950, 999, 900, 899, 999, 1000):
        guard.sample(memory_bytes)
        seen.append(guard.is_on)
    assert seen == [False, True, True, True, True, False, False, True]


def test_without_a_bound_memory_may_grow() -> None:
    guard = MemoryGuard(0)
    guard.sample(1 << 40)
    assert not guard.is_on


class Worker:
    """An `Overload` whose memory is what the test says."""

    def __init__(self, lag_s: float = BOUND_S) -> None:
        self.memory_bytes = 0
        self.gave_back = 0
        self.slots = Slots.in_memory()
        self.clock = ManualClock()
        self.clock.advance(5)
        bounds = Bounds(lag_s, 1000)
        self.overload = Overload(bounds, self.slots, self.clock, lambda: self.memory_bytes, self._give_back)
        self.now_s = 100.0

    def _give_back(self) -> None:
        self.gave_back += 1

    def look(self, lag_s: float = IN_TIME, times: int = 1) -> None:
        for _ in range(times):
            self.now_s += 1.0 + lag_s
            self.overload.look(lag_s, self.now_s)

    def shed(self, calls: int) -> int:
        return sum(self.overload.sheds() for _ in range(calls))


def test_the_share_is_spread_evenly_and_counted() -> None:
    worker = Worker()
    worker.overload.share = 0.25
    assert [worker.overload.sheds() for _ in range(8)] == [False, False, False, True] * 2
    assert worker.slots.get("overload_shed_total", "lag") == 2


def test_at_the_memory_bound_every_call_is_turned_away_and_free_memory_given_back() -> None:
    worker = Worker()
    worker.memory_bytes = 1000
    worker.look()
    assert worker.shed(10) == 10
    assert worker.gave_back == 1
    assert worker.slots.get("overload_shed_total", "memory") == 10
    assert worker.slots.get("memory_bytes") == 1000
    assert worker.slots.get("overloaded", "memory") == 1
    assert worker.slots.get("overloaded_since_us") == worker.clock.monotonic_us()
    worker.memory_bytes = 100
    worker.look()
    assert worker.overload.share == 0
    assert worker.slots.get("overloaded", "memory") == 0
    assert worker.slots.get("overloaded_since_us") == 0


def test_what_a_killed_predecessor_said_is_forgotten() -> None:
    slots = Slots.in_memory()
    slots.set("overloaded", 1, "lag")
    slots.set("overloaded_since_us", 1)
    Overload(Bounds(), slots, ManualClock(), lambda: 0, lambda: None)
    assert slots.get("overloaded", "lag") == slots.get("overloaded_since_us") == 0


def test_one_line_when_it_begins_and_one_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tollway.dataplane")
    worker = Worker()
    worker.look(LATE, times=10)
    worker.look(IN_TIME, times=20)
    worker.memory_bytes = 2000
    worker.look(times=5)
    worker.memory_bytes = 0
    worker.look(times=5)
    assert [record.getMessage() for record in caplog.records] == [
        "overloaded, new calls are turned away with 503: the loop is late",
        "not overloaded any more: the loop is in time",
        "overloaded, new calls are turned away with 503: memory is at its bound",
        "not overloaded any more: memory is well below its bound",
    ]

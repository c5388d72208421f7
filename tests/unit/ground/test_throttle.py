"""How often something may be tried."""

from __future__ import annotations

import pytest

from gateway import throttle
from gateway.clock import ManualClock
from gateway.throttle import Throttle


def test_so_many_tries_within_a_span() -> None:
    clock = ManualClock()
    made = Throttle(clock, 3, 60)
    assert [made.take("a") for _ in range(4)] == [0, 0, 0, 60]
    assert made.take("b") == 0
    clock.advance(59.5)
    assert made.take("a") == 1
    clock.advance(0.5)
    assert [made.take("a") for _ in range(4)] == [0, 0, 0, 60]


def test_asking_how_long_counts_nothing() -> None:
    clock = ManualClock()
    made = Throttle(clock, 1, 60)
    assert [made.wait_s("a"), made.wait_s("a"), made.take("a"), made.wait_s("a")] == [0, 0, 0, 60]
    clock.advance(60)
    assert [made.wait_s("a"), made.take("a")] == [0, 0]


def test_a_refused_try_that_is_given_back_displaces_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_REMEMBERED", 2)
    made = Throttle(ManualClock(), 1, 60)
    made.take("victim")
    for number in range(10):
        made.take(f"made up {number}")
        made.give_back(f"made up {number}")
    assert made.take("victim") == 60


def test_a_try_that_is_given_back_does_not_count() -> None:
    made = Throttle(ManualClock(), 1, 60)
    for _ in range(5):
        assert made.take("a") == 0
        made.give_back("a")
    made.give_back("a")
    made.give_back("never seen")
    assert [made.take("a"), made.take("a")] == [0, 60]


def test_a_wall_clock_that_steps_changes_nothing() -> None:
    clock = ManualClock()
    made = Throttle(clock, 1, 60)
    made.take("a")
    clock.step_wall(1_000)
    assert made.take("a") == 60


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_REMEMBERED", 2)
    made = Throttle(ManualClock(), 1, 60)
    for who in "abc":
        made.take(who)
    assert len(made._tries) == 2

from __future__ import annotations

import pytest

from gateway.model.policies import Retries
from gateway.telemetry.slots import Slots
from gateway.upstream.retries import WINDOW_TICKS, Budget, Reason, Ticker, Tries


class Calls:
    """How many calls there have been."""

    def __init__(self, spec: Retries) -> None:
        self.count = 0
        self.budget = Budget(spec, lambda: self.count)


def taken(budget: Budget, wanted: int = 1000) -> int:
    return sum(budget.take() for _ in range(wanted))


@pytest.mark.parametrize(
    ("case", "spec", "calls", "allowed"),
    [
        ("a share of the calls and a floor", Retries(percent=20, at_least=10), 100, 30),
        ("only the floor", Retries(percent=0, at_least=3), 1000, 3),
        ("only the share", Retries(percent=50, at_least=0), 10, 5),
        ("none", Retries(percent=0, at_least=0), 1000, 0),
    ],
)
def test_retries_are_a_share_of_the_calls(case: str, spec: Retries, calls: int, allowed: int) -> None:
    had = Calls(spec)
    had.count += calls
    budget = had.budget
    assert taken(budget) == allowed
    assert taken(budget) == 0


def test_the_window_moves_on() -> None:
    calls = Calls(Retries(percent=10, at_least=1))
    budget = calls.budget
    calls.count += 100
    assert taken(budget) == 11
    for _ in range(WINDOW_TICKS - 1):
        budget.tick()
    assert taken(budget) == 0
    budget.tick()
    assert taken(budget) == 1  # neither the old calls nor the old retries count any more


def test_calls_of_an_hour_ago_buy_nothing() -> None:
    calls = Calls(Retries(percent=100, at_least=0))
    budget = calls.budget
    calls.count += 1_000_000
    for _ in range(WINDOW_TICKS):
        budget.tick()
    assert taken(budget) == 0


@pytest.mark.parametrize(
    ("case", "spec", "reasons", "answers"),
    [
        ("as often as allowed", Retries(attempts=2), ["connect", "stale", "connect"], [True, True, False]),
        ("only for what is asked", Retries(connect=False), ["connect", "stale"], [False, True]),
        ("the other way round", Retries(stale=False), ["stale", "connect"], [False, True]),
        ("never", Retries(attempts=0), ["connect"], [False]),
        ("within the budget", Retries(percent=0, at_least=1), ["connect", "connect"], [True, False]),
    ],
)
def test_a_call_is_tried_again(case: str, spec: Retries, reasons: list[Reason], answers: list[bool]) -> None:
    slots = Slots.in_memory()
    tries = Tries(spec, Calls(spec).budget, slots)
    assert [tries.again(reason) for reason in reasons] == answers
    counted = sum(slots.get("upstream_retries_total", reason) for reason in ("connect", "stale"))
    assert counted == sum(answers)
    assert slots.get("upstream_retries_denied_total") == (case == "within the budget")


def test_what_was_never_sent_needs_no_budget_but_is_bounded() -> None:
    spec = Retries(attempts=2, percent=0, at_least=0)
    tries = Tries(spec, Calls(spec).budget, Slots.in_memory())
    assert [tries.again("stale", unsent=True) for _ in range(3)] == [True, True, False]


def test_a_ticker_ticks_every_second_until_it_is_stopped() -> None:
    calls = Calls(Retries(percent=100, at_least=0))
    budget = calls.budget
    ticker = Ticker(budget, 50.0)
    assert ticker.deadline == 51.0
    calls.count += 5
    for _ in range(WINDOW_TICKS):
        ticker.deadline = float("inf")  # as the sweep does
        ticker.expire()
    assert ticker.deadline == 61.0
    assert taken(budget) == 0
    ticker.stop()
    assert ticker.deadline == float("inf")

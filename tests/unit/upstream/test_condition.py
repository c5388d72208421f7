from __future__ import annotations

import pytest

from gateway.model.policies import Ejection, Health
from gateway.upstream.condition import Condition

EJECTION = Ejection(failures=3, out_s=10, longest_s=35)
HEALTH = Health("/", healthy_after=2, unhealthy_after=3)


def condition() -> Condition:
    return Condition(EJECTION, HEALTH)


def test_failures_in_a_row_speak_for_ejection() -> None:
    one = condition()
    assert [one.call_failed() for _ in range(3)] == [False, False, True]


def test_a_call_that_went_well_starts_the_count_again() -> None:
    one = condition()
    one.call_failed()
    one.call_failed()
    one.call_went_well()
    assert [one.call_failed() for _ in range(3)] == [False, False, True]


def test_one_that_is_out_is_not_taken_out_again() -> None:
    one = condition()
    assert one.eject(100.0) == 10
    assert not one.up
    assert one.out_until == 110.0
    assert not any(one.call_failed() for _ in range(10))


def test_coming_back_it_is_on_probation_and_out_for_longer_each_time() -> None:
    one = condition()
    times = []
    for _ in range(4):
        times.append(one.eject(0.0))
        one.readmit()
        assert one.up
        assert one.call_failed()
    assert times == [10, 20, 35, 35]


def test_a_call_that_goes_well_ends_probation() -> None:
    one = condition()
    one.eject(0.0)
    one.readmit()
    one.call_went_well()
    assert not one.call_failed()
    assert one.eject(0.0) == 10


@pytest.mark.parametrize(
    ("case", "checks", "changes", "up"),
    [
        ("all good", "gggg", [], True),
        ("three bad ones in a row", "bbb", [2], False),
        ("not in a row", "bbgbbg", [], True),
        ("two good ones bring it back", "bbbgg", [2, 4], True),
        ("one does not", "bbbgbg", [2], False),
        ("and so on", "bbbggbbb", [2, 4, 7], False),
    ],
)
def test_checks_take_out_and_bring_back(case: str, checks: str, changes: list[int], up: bool) -> None:
    one = condition()
    assert [at for at, check in enumerate(checks) if one.checked(passed=check == "g")] == changes
    assert one.up is up


def test_calls_and_checks_judge_separately() -> None:
    one = condition()
    one.eject(0.0)
    for _ in range(3):
        one.checked(passed=False)
    one.readmit()
    assert not one.up
    one.checked(passed=True)
    one.checked(passed=True)
    assert one.up

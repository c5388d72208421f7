"""How long checks wait for the next one."""

from __future__ import annotations

import pytest

from gateway.upstream.probe import pause_s


@pytest.mark.parametrize(
    ("case", "interval_s", "broken", "expected_s"),
    [
        ("all is well", 5.0, 0, 5.0),
        ("twice as long each time in a row", 5.0, 1, 10.0),
        ("and again", 5.0, 3, 40.0),
        ("but not for ever", 5.0, 4, 60.0),
        ("however often", 5.0, 100_000, 60.0),
        ("nor shorter than asked for", 300.0, 7, 300.0),
    ],
)
def test_checks_that_break_come_later_each_time(
    case: str, interval_s: float, broken: int, expected_s: float
) -> None:
    assert pause_s(interval_s, broken) == expected_s

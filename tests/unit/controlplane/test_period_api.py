from __future__ import annotations

import pytest

from gateway.admission.period import Span
from gateway.controlplane.period_api import projected

DAY = Span(0, 86_400)


@pytest.mark.parametrize(
    ("case", "span", "used", "at_s", "expected"),
    [
        ("half of it is over", DAY, 100, 43_200, 200),
        ("it has just begun", DAY, 100, 600, None),
        ("an hour is judged after a quarter of it", Span(0, 3600), 10, 900, 40),
        ("nothing stays nothing", DAY, 0, 80_000, 0),
        ("it is over", DAY, 100, 400_000, 100),
    ],
)
def test_what_is_used_in_the_end_at_this_pace(
    case: str, span: Span, used: int, at_s: int, expected: int | None
) -> None:
    assert projected(used, span, at_s * 1_000_000) == expected, case

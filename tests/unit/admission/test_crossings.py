"""What the script wrote about thresholds, read back."""

from __future__ import annotations

import pytest

from gateway.admission.counters import QuotaPeriod
from gateway.admission.crossings import Crossing, read_crossing
from gateway.admission.period import Span
from gateway.model.periods import parse_period
from gateway.model.principal import Mode

NOVEMBER = Span(1_793_491_200, 1_796_083_200)


def test_a_crossing_says_of_whom_when_and_how_much() -> None:
    read = read_crossing(
        "tw:{7t}:q:api_calls:30days:1793491200-1796083200|1000|80", "1793500000000|812|1796083200000|calls"
    )
    period = QuotaPeriod(7, Mode.TEST, "api_calls", parse_period("30 days"), NOVEMBER)
    assert read == Crossing(period, "calls", 1000, 80, 812, 1_793_500_000_000)


@pytest.mark.parametrize(
    ("case", "field", "value"),
    [
        ("no counter", "tw:{7l}:b:burst|1000|80", "1|2|3|calls"),
        ("a period of a newer release", "tw:{7l}:q:api_calls:era:1793491200|1000|80", "1|2|3|calls"),
        ("no amount", "tw:{7l}:q:api_calls:month:1793491200", "1|2|3|calls"),
        ("other facts", "tw:{7l}:q:api_calls:month:1793491200|1000|80", "1|2|3"),
    ],
)
def test_what_only_a_newer_release_understands_is_left_to_it(case: str, field: str, value: str) -> None:
    assert read_crossing(field, value) is None, case

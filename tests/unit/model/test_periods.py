"""Periods as policies spell them."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.model.periods import IN_UTC, Period, Unit, calendar, parse_period


@pytest.mark.parametrize(
    ("text", "period", "this"),
    [
        ("hour", Period.HOUR, "this hour"),
        ("month", Period.MONTH, "this month"),
        ("30 days", Period(Unit.DAY, 30), "these 30 days"),
        ("2 weeks", Period(Unit.WEEK, 2), "these 2 weeks"),
    ],
)
def test_a_period_is_spelled_in_one_way(text: str, period: Period, this: str) -> None:
    assert (parse_period(text), period.text, period.this) == (period, text, this)
    assert parse_period(period.key) == period, "as counters are called"


@pytest.mark.parametrize("text", ["", "fortnight", "1 month", "1 months", "2 month", "months", "-3 days"])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a period"):
        parse_period(text)


def test_lengths_are_known_where_they_do_not_differ() -> None:
    assert [parse_period(text).seconds for text in ("hour", "30 days", "2 weeks", "month", "year")] == [
        3600,
        2_592_000,
        1_209_600,
        None,
        None,
    ]


def test_most_accounts_have_the_same_calendar() -> None:
    assert calendar(None, "UTC") is IN_UTC
    assert calendar(date(2026, 1, 31), "UTC") is calendar(date(2026, 1, 31), "UTC")
    assert calendar(None, "Asia/Tokyo") != IN_UTC

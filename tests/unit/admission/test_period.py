"""Calendar periods in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.period import period_at
from gateway.model.policies import Period


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("case", "per", "now", "start", "end"),
    [
        ("an hour", Period.HOUR, "2026-03-08 07:59:59.9", "2026-03-08 07:00", "2026-03-08 08:00"),
        (
            "the first moment belongs to the new hour",
            Period.HOUR,
            "2026-03-08 08:00",
            "2026-03-08 08:00",
            "2026-03-08 09:00",
        ),
        (
            "a day, whatever clocks change elsewhere",
            Period.DAY,
            "2026-03-08 12:00",
            "2026-03-08",
            "2026-03-09",
        ),
        (
            "the last microsecond of a year",
            Period.DAY,
            "2026-12-31 23:59:59.999999",
            "2026-12-31",
            "2027-01-01",
        ),
        ("a long month", Period.MONTH, "2026-01-31 12:00", "2026-01-01", "2026-02-01"),
        ("a short month", Period.MONTH, "2026-02-28 23:59:59", "2026-02-01", "2026-03-01"),
        ("a leap year's February", Period.MONTH, "2028-02-29 12:00", "2028-02-01", "2028-03-01"),
        ("no leap year, 2100", Period.MONTH, "2100-02-28 12:00", "2100-02-01", "2100-03-01"),
        ("over the year's end", Period.MONTH, "2026-12-31 23:59:59.9", "2026-12-01", "2027-01-01"),
        ("the first moment of a year", Period.MONTH, "2027-01-01", "2027-01-01", "2027-02-01"),
    ],
)
def test_periods(case: str, per: Period, now: str, start: str, end: str) -> None:
    span = period_at(per, us(now))
    assert (span.start_s * 1_000_000, span.end_s * 1_000_000) == (us(start), us(end)), case


@given(per=st.sampled_from(Period), at=st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)))
def test_periods_leave_no_gap_and_do_not_overlap(per: Period, at: datetime) -> None:
    now_us = round(at.replace(tzinfo=UTC).timestamp()) * 1_000_000
    span = period_at(per, now_us)
    assert span.start_s * 1_000_000 <= now_us < span.end_s * 1_000_000
    assert period_at(per, span.end_s * 1_000_000).start_s == span.end_s
    assert period_at(per, span.start_s * 1_000_000 - 1).end_s == span.start_s
    assert timedelta(seconds=span.end_s - span.start_s) <= timedelta(days=31)

"""Periods by calendars in UTC, and by anchors in time zones."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.period import period_at
from gateway.model.periods import IN_UTC, Calendar, Period, Unit, parse_period


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def told(per: str, now: str, anchor: str | None, zone: str) -> tuple[str, str]:
    """The period, its ends as UTC."""
    by = Calendar(None if anchor is None else date.fromisoformat(anchor), zone)
    span = period_at(parse_period(per), us(now), by)
    start, end = (datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M") for at_s in span)
    return start.removesuffix(" 00:00"), end.removesuffix(" 00:00")


@pytest.mark.parametrize(
    ("case", "per", "now", "start", "end"),
    [
        ("an hour", "hour", "2026-03-08 07:59:59.9", "2026-03-08 07:00", "2026-03-08 08:00"),
        ("its first moment", "hour", "2026-03-08 08:00", "2026-03-08 08:00", "2026-03-08 09:00"),
        ("half a day", "12 hours", "2026-03-08 11:59:59", "2026-03-08", "2026-03-08 12:00"),
        ("a day", "day", "2026-03-08 12:00", "2026-03-08", "2026-03-09"),
        ("the year's last", "day", "2026-12-31 23:59:59.999999", "2026-12-31", "2027-01-01"),
        ("weeks begin on Monday", "week", "2026-11-21 12:00", "2026-11-16", "2026-11-23"),
        ("the year's last week", "week", "2026-12-31 12:00", "2026-12-28", "2027-01-04"),
        ("a long month", "month", "2026-01-31 12:00", "2026-01-01", "2026-02-01"),
        ("a short month", "month", "2026-02-28 23:59:59", "2026-02-01", "2026-03-01"),
        ("a leap year's February", "month", "2028-02-29 12:00", "2028-02-01", "2028-03-01"),
        ("no leap year, 2100", "month", "2100-02-28 12:00", "2100-02-01", "2100-03-01"),
        ("over the year's end", "month", "2026-12-31 23:59:59.9", "2026-12-01", "2027-01-01"),
        ("the first moment of a year", "month", "2027-01-01", "2027-01-01", "2027-02-01"),
        ("a quarter", "3 months", "2026-11-21", "2026-10-01", "2027-01-01"),
        ("a year", "year", "2026-11-21", "2026-01-01", "2027-01-01"),
    ],
)
def test_without_an_anchor_periods_are_those_of_the_calendar(
    case: str, per: str, now: str, start: str, end: str
) -> None:
    assert told(per, now, None, "UTC") == (start, end), case


@pytest.mark.parametrize(
    ("case", "per", "anchor", "now", "start", "end"),
    [
        ("a month from the 21st", "month", "2026-11-21", "2026-12-20 23:59", "2026-11-21", "2026-12-21"),
        ("the 31st in February", "month", "2026-01-31", "2026-02-27 23:59", "2026-01-31", "2026-02-28"),
        ("and back to the 31st", "month", "2026-01-31", "2026-03-01", "2026-02-28", "2026-03-31"),
        ("and to the 30th", "month", "2026-01-31", "2026-04-30", "2026-04-30", "2026-05-31"),
        ("in a leap year", "month", "2026-01-31", "2028-02-29", "2028-02-29", "2028-03-31"),
        ("the 30th in February", "month", "2026-01-30", "2026-03-29 23:59", "2026-02-28", "2026-03-30"),
        ("before the anchor", "month", "2026-11-21", "2026-11-20 23:59", "2026-10-21", "2026-11-21"),
        ("an anchor far ahead", "month", "2040-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("a year from 29 February", "year", "2024-02-29", "2026-02-28", "2026-02-28", "2027-02-28"),
        ("and back to it", "year", "2024-02-29", "2028-02-28 23:59", "2027-02-28", "2028-02-29"),
        ("thirty days", "30 days", "2026-01-31", "2026-03-01", "2026-01-31", "2026-03-02"),
        ("the next thirty", "30 days", "2026-01-31", "2026-03-02", "2026-03-02", "2026-04-01"),
        ("two weeks from a Saturday", "2 weeks", "2026-11-21", "2026-12-05", "2026-12-05", "2026-12-19"),
        ("a week from a Saturday", "week", "2026-11-21", "2026-11-27 23:59", "2026-11-21", "2026-11-28"),
        ("three months from the 31st", "3 months", "2026-08-31", "2026-12-01", "2026-11-30", "2027-02-28"),
        ("a day is a day", "day", "2026-01-31", "2026-03-01 12:00", "2026-03-01", "2026-03-02"),
        ("five hours", "5 hours", "2026-03-01", "2026-03-02 00:30", "2026-03-01 20:00", "2026-03-02 01:00"),
    ],
)
def test_periods_are_counted_from_the_anchor(
    case: str, per: str, anchor: str, now: str, start: str, end: str
) -> None:
    assert told(per, now, anchor, "UTC") == (start, end), case


@pytest.mark.parametrize(
    ("case", "per", "zone", "anchor", "now", "start", "end"),
    [
        (
            "a day of 23 hours in New York",
            "day",
            "America/New_York",
            None,
            "2026-03-08 12:00",
            "2026-03-08 05:00",
            "2026-03-09 04:00",
        ),
        (
            "a day of 25 hours in New York",
            "day",
            "America/New_York",
            None,
            "2026-11-02 04:59",
            "2026-11-01 04:00",
            "2026-11-02 05:00",
        ),
        (
            "a month between both",
            "month",
            "America/New_York",
            "2026-03-08",
            "2026-04-01",
            "2026-03-08 05:00",
            "2026-04-08 04:00",
        ),
        (
            "clocks that move by half an hour",
            "day",
            "Australia/Lord_Howe",
            None,
            "2026-04-05 00:00",
            "2026-04-04 13:00",
            "2026-04-05 13:30",
        ),
        (
            "a zone that is half an hour off",
            "month",
            "Asia/Kolkata",
            None,
            "2026-11-30 18:29",
            "2026-10-31 18:30",
            "2026-11-30 18:30",
        ),
        (
            "Apia skipped 30 December 2011: the 29th ends where the 31st begins",
            "day",
            "Pacific/Apia",
            None,
            "2011-12-30 09:59",
            "2011-12-29 10:00",
            "2011-12-30 10:00",
        ),
        (
            "and the 31st begins",
            "day",
            "Pacific/Apia",
            None,
            "2011-12-30 10:00",
            "2011-12-30 10:00",
            "2011-12-31 10:00",
        ),
        (
            "an anchor on the day that never was",
            "month",
            "Pacific/Apia",
            "2011-11-30",
            "2011-12-30 10:00",
            "2011-12-30 10:00",
            "2012-01-29 10:00",
        ),
        (
            "midnight does not happen in Beirut",
            "day",
            "Asia/Beirut",
            None,
            "2026-03-29 12:00",
            "2026-03-28 22:00",
            "2026-03-29 21:00",
        ),
        (
            "midnight happens twice in Havana: the first one counts",
            "day",
            "America/Havana",
            None,
            "2026-11-01 04:30",
            "2026-11-01 04:00",
            "2026-11-02 05:00",
        ),
        (
            "hours are elapsed time",
            "12 hours",
            "America/New_York",
            "2026-03-08",
            "2026-03-08 17:00",
            "2026-03-08 17:00",
            "2026-03-09 05:00",
        ),
        (
            "over the year's end in Kiritimati",
            "year",
            "Pacific/Kiritimati",
            None,
            "2026-12-31 10:00",
            "2026-12-31 10:00",
            "2027-12-31 10:00",
        ),
    ],
)
def test_days_are_those_of_the_time_zone(
    case: str, per: str, zone: str, anchor: str | None, now: str, start: str, end: str
) -> None:
    assert told(per, now, anchor, zone) == (start, end), case


_zones = st.sampled_from(
    [
        "UTC",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kolkata",
        "Africa/Cairo",
        "America/St_Johns",
        "America/Havana",
        "Europe/Berlin",
    ]
)
_periods = st.builds(Period, st.sampled_from(Unit), st.integers(1, 40))


@given(
    per=_periods,
    at=st.datetimes(datetime(1975, 1, 1), datetime(2199, 1, 1)),
    anchor=st.none() | st.dates(date(1970, 1, 1), date(2100, 1, 1)),
    zone=_zones,
)
def test_periods_leave_no_gap_and_do_not_overlap(
    per: Period, at: datetime, anchor: date | None, zone: str
) -> None:
    now_us, by = round(at.replace(tzinfo=UTC).timestamp()) * 1_000_000, Calendar(anchor, zone)
    span = period_at(per, now_us, by)
    assert span.start_s * 1_000_000 <= now_us < span.end_s * 1_000_000
    assert period_at(per, span.end_s * 1_000_000, by).start_s == span.end_s
    assert period_at(per, span.start_s * 1_000_000 - 1, by).end_s == span.start_s
    assert period_at(per, span.start_s * 1_000_000, by) == span
    assert timedelta(seconds=span.end_s - span.start_s) <= timedelta(hours=per.hours * 1.02 + 100)
    if per.unit is not Unit.HOUR and zone == "Europe/Berlin" and at.year > 1990:
        assert datetime.fromtimestamp(span.start_s, ZoneInfo(zone)).hour == 0


@given(per=_periods, at=st.datetimes(datetime(1975, 1, 1), datetime(2199, 1, 1)))
def test_the_calendar_of_utc_is_the_same_however_it_is_told(per: Period, at: datetime) -> None:
    now_us = round(at.replace(tzinfo=UTC).timestamp()) * 1_000_000
    assert period_at(per, now_us, IN_UTC) == period_at(per, now_us, Calendar())


def test_a_zone_that_this_machine_lacks_is_utc_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert told("day", "2026-03-08 12:00", None, "Mars/Olympus") == ("2026-03-08", "2026-03-09")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]

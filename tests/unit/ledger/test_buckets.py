from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from gateway.ledger.buckets import bucket_starts, has_full_hours, midnight

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("case", "first", "hours"),
    [
        ("clocks are put forward", "2026-03-28", [24, 23, 24]),
        ("clocks are put back", "2026-10-24", [24, 25, 24]),
    ],
)
def test_days_of_a_zone_have_23_to_25_hours(case: str, first: str, hours: list[int]) -> None:
    start = midnight(date.fromisoformat(first), BERLIN)
    starts = bucket_starts("day", start, start + timedelta(days=4), BERLIN)
    lengths = [(after - before) / timedelta(hours=1) for before, after in pairwise(starts)]
    assert lengths[:3] == hours, case


@pytest.mark.parametrize(
    ("bucket", "starts"),
    [
        ("hour", ["2026-01-31T22:00", "2026-01-31T23:00", "2026-02-01T00:00"]),
        ("day", ["2026-01-31T00:00", "2026-02-01T00:00"]),
        ("month", ["2026-01-01T00:00", "2026-02-01T00:00"]),
    ],
)
def test_buckets_in_utc(bucket: str, starts: list[str]) -> None:
    found = bucket_starts(bucket, at("2026-01-31T22:30"), at("2026-02-01T00:30"))  # type: ignore[arg-type]  # a table's text
    assert found == [at(text) for text in starts]


def test_the_end_of_a_span_begins_no_bucket() -> None:
    assert bucket_starts("day", at("2026-01-01"), at("2026-01-02")) == [at("2026-01-01")]
    assert len(bucket_starts("hour", at("2026-01-01"), at("2026-01-02"))) == 24


def test_months_begin_at_local_midnight() -> None:
    assert bucket_starts("month", at("2026-03-15"), at("2026-05-01"), BERLIN) == [
        at("2026-02-28T23:00"),
        at("2026-03-31T22:00"),
        at("2026-04-30T22:00"),
    ]


def test_where_clocks_are_put_forward_at_midnight_the_day_begins_then() -> None:
    assert midnight(date(2026, 9, 6), ZoneInfo("America/Santiago")) == at("2026-09-06T04:00")


def test_a_day_that_a_zone_skipped_is_no_bucket() -> None:
    apia = ZoneInfo("Pacific/Apia")
    starts = bucket_starts("day", at("2011-12-29T10:00"), at("2012-01-01T00:00"), apia)
    assert starts == sorted(set(starts))


@pytest.mark.parametrize(
    ("zone", "full"),
    [
        ("UTC", True),
        ("Europe/Berlin", True),
        ("America/St_Johns", False),
        ("Asia/Kolkata", False),
        ("Asia/Kathmandu", False),
        ("Australia/Lord_Howe", False),
    ],
)
def test_zones_that_are_full_hours_from_utc(zone: str, full: bool) -> None:
    assert has_full_hours(ZoneInfo(zone), at("2026-01-01"), at("2026-12-31")) is full


def test_half_an_hour_of_summer_time_counts_only_when_it_is_there() -> None:
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    assert has_full_hours(lord_howe, at("2026-01-01"), at("2026-02-01")), "11 hours"
    assert not has_full_hours(lord_howe, at("2026-06-01"), at("2026-07-01")), "10 and a half"

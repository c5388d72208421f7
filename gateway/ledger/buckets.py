"""Where hours, days and months begin in a time zone. Pure functions.

Sums are kept by full hours in UTC. A day or month of a zone is a number of such hours, 23 to 25 of them for a
day, where the zone is a number of full hours from UTC. Elsewhere it can not be said from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

Bucket = Literal["hour", "day", "month"]

HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


def bucket_starts(bucket: Bucket, start: datetime, end: datetime, zone: tzinfo = UTC) -> list[datetime]:
    """Starts of the buckets that [start, end) touches, in UTC, ascending. The first may be before `start`."""
    if bucket == "hour":
        first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return [first + number * HOUR for number in range(-((first - end) // HOUR))]
    starts: list[datetime] = []
    for day in _days(start.astimezone(zone).date(), bucket):
        at = midnight(day, zone)
        if at >= end:
            return starts
        if not starts or at > starts[-1]:  # a zone that skips a day has it at the same time as the next
            starts.append(at)
    return starts


def midnight(day: date, zone: tzinfo) -> datetime:
    """When a day begins, in UTC. Where clocks are put forward at midnight: when they are."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def has_full_hours(zone: tzinfo, start: datetime, end: datetime) -> bool:
    """Whether the zone is full hours from UTC on every day of [start, end)."""
    if zone is UTC:
        return True
    at = start
    while at < end + _DAY:
        offset = at.astimezone(zone).utcoffset()
        if offset is None or offset % HOUR:
            return False
        at += _DAY
    return True


def _days(first: date, bucket: Bucket) -> Iterator[date]:
    """Days that begin a bucket, from the one that `first` is in."""
    if bucket == "day":
        day = first
        while day < date.max:
            yield day
            day += _DAY
    year, month = first.year, first.month
    while year < date.max.year:
        yield date(year, month, 1)
        year, month = year + month // 12, month % 12 + 1

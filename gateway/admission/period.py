"""The period a quota counts in: half-open, computed from the clock and the account's calendar.

The first moment of a day is that of its local midnight. Where clocks are set forward over midnight, it is the
moment they are; a day that a zone skips altogether has no period.
"""

from __future__ import annotations

import logging
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.model.periods import IN_UTC, Calendar, Period, Unit

HOUR_S = 3600
DAY_S = 86_400
FIRST_DAY = date(1970, 1, 1)
FIRST_MONDAY = date(1970, 1, 5)
_MONTHS = {Unit.MONTH: 1, Unit.YEAR: 12}
_DAYS = {Unit.DAY: 1, Unit.WEEK: 7}

log = logging.getLogger("tollway.admission")


class Span(NamedTuple):
    """One period: from `start_s` until just before `end_s`, seconds since the epoch."""

    start_s: int
    end_s: int


def period_at(per: Period, now_us: int, by: Calendar = IN_UTC) -> Span:
    """The period of kind `per` that `now_us` falls into, for an account with this calendar."""
    now_s = now_us // 1_000_000
    if per.unit is Unit.HOUR:
        return _elapsed(now_s, per.count * HOUR_S, by)
    if by is IN_UTC and per == Period.DAY:
        return Span(now_s - now_s % DAY_S, now_s - now_s % DAY_S + DAY_S)
    zone = _zone(by.time_zone)
    number = _about(per, by, datetime.fromtimestamp(now_s, zone).date())
    while _start_s(per, by, number, zone) > now_s:
        number -= 1
    while (end_s := _start_s(per, by, number + 1, zone)) <= now_s:
        number += 1
    return Span(_start_s(per, by, number, zone), end_s)


def _elapsed(now_s: int, length_s: int, by: Calendar) -> Span:
    """Hours are counted by elapsed time, from the anchor's midnight or the epoch's."""
    origin_s = 0 if by.anchor is None else _midnight_s(by.anchor, _zone(by.time_zone))
    start_s = now_s - (now_s - origin_s) % length_s
    return Span(start_s, start_s + length_s)


def _about(per: Period, by: Calendar, day: date) -> int:
    """The number of the period that a local day is in, or the one before or after."""
    first = _first(per, by)
    months = _MONTHS.get(per.unit)
    if months is None:
        return (day - first).days // (_DAYS[per.unit] * per.count)
    return ((day.year - first.year) * 12 + day.month - first.month) // (months * per.count)


def _start_s(per: Period, by: Calendar, number: int, zone: tzinfo) -> int:
    """When the `number`th period from the anchor starts. Each is counted from the anchor itself, so that an
    anchor on the 31st comes back after a short month."""
    first = _first(per, by)
    months = _MONTHS.get(per.unit)
    if months is None:
        return _midnight_s(first + timedelta(days=number * _DAYS[per.unit] * per.count), zone)
    year, month = divmod(first.year * 12 + first.month - 1 + number * months * per.count, 12)
    day = min(first.day, monthrange(year, month + 1)[1])
    return _midnight_s(date(year, month + 1, day), zone)


def _first(per: Period, by: Calendar) -> date:
    return by.anchor or (FIRST_MONDAY if per.unit is Unit.WEEK else FIRST_DAY)


def _midnight_s(day: date, zone: tzinfo) -> int:
    return int(datetime.combine(day, time(), zone).timestamp())


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    """UTC for a zone that this machine does not know: it was known to the machine that stored it."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        log.error("this machine lacks a time zone: its quota periods are those of UTC", extra={"error": name})  # noqa: TRY400  says it all
        return UTC

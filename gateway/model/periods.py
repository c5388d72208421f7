"""How often a quota starts again, and from when an account's periods are counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import ClassVar

PERIOD = r"^(hour|day|week|month|year)$|^([2-9]|[1-9][0-9]{1,4}) (hours|days|weeks|months|years)$"
LONGEST_HOURS = 10 * 8766
"""Ten years; a month is a twelfth of a year here."""


class Unit(Enum):
    """What periods are made of. Hours are elapsed time, everything else is whole days of a calendar."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_SECONDS = {Unit.HOUR: 3600, Unit.DAY: 86_400, Unit.WEEK: 7 * 86_400}
_HOURS = {Unit.HOUR: 1.0, Unit.DAY: 24.0, Unit.WEEK: 168.0, Unit.MONTH: 730.5, Unit.YEAR: 8766.0}


@dataclass(frozen=True, slots=True)
class Period:
    """`count` units, one after the other: a month, 30 days."""

    unit: Unit
    count: int = 1

    HOUR: ClassVar[Period]
    DAY: ClassVar[Period]
    WEEK: ClassVar[Period]
    MONTH: ClassVar[Period]
    YEAR: ClassVar[Period]

    @property
    def text(self) -> str:
        """As policies spell it: `month`, `30 days`."""
        return self.unit.value if self.count == 1 else f"{self.count} {self.unit.value}s"

    @property
    def key(self) -> str:
        """The same without a space, for names of counters."""
        return self.text.replace(" ", "")

    @property
    def this(self) -> str:
        """The present one, for people: `this month`, `these 30 days`."""
        return f"this {self.text}" if self.count == 1 else f"these {self.text}"

    @property
    def seconds(self) -> int | None:
        """How long it usually lasts; None where lengths differ more than clocks are changed."""
        unit_s = _SECONDS.get(self.unit)
        return None if unit_s is None else self.count * unit_s

    @property
    def hours(self) -> float:
        """About how long it lasts, to compare periods with each other."""
        return self.count * _HOURS[self.unit]


Period.HOUR, Period.DAY, Period.WEEK = Period(Unit.HOUR), Period(Unit.DAY), Period(Unit.WEEK)
Period.MONTH, Period.YEAR = Period(Unit.MONTH), Period(Unit.YEAR)


@lru_cache(maxsize=1024)
def parse_period(text: str) -> Period:
    """The period that is spelled so, with or without the space. ValueError if none is."""
    match = re.fullmatch(r"(?:([0-9]{1,5}) ?)?(hour|day|week|month|year)(s?)", text)
    if match is None or bool(match[1]) != bool(match[3]) or match[1] == "1":
        raise ValueError("not a period")
    return Period(Unit(match[2]), int(match[1] or 1))


@dataclass(frozen=True, slots=True)
class Calendar:
    """By what an account's periods are counted: from a day on, or as calendars do, in a time zone."""

    anchor: date | None = None  # None: weeks begin on Monday, months on the first
    time_zone: str = "UTC"


IN_UTC = Calendar()


@lru_cache(maxsize=65_536)
def _known(anchor: date | None, time_zone: str) -> Calendar:
    return Calendar(anchor, time_zone)


def calendar(anchor: date | None, time_zone: str) -> Calendar:
    """The calendar, mostly the same object for the same values: `IN_UTC` can be told by identity."""
    return IN_UTC if anchor is None and time_zone == "UTC" else _known(anchor, time_zone)

"""Spans of time as callers write them, in a time zone, and how they are cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

from gateway.controlplane.bodies import Sent
from gateway.controlplane.problems import invalid
from gateway.ledger.buckets import Bucket, has_full_hours, midnight

LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=366), "month": timedelta(days=3660)}
"""The longest span that is answered in buckets of a size, so that answers stay readable."""


def _written(value: object) -> datetime:
    """An instant as ISO 8601, or a local time where it has no offset."""
    try:
        at = datetime.fromisoformat(str(value))
        at = at if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an instant like 2026-11-21T10:00:00Z, or a date") from None
    if not 2000 <= at.year < 3000:
        raise ValueError("must be from the years 2000 to 2999")
    return at


def _instant(value: object) -> datetime:
    """An instant as ISO 8601; without an offset it is UTC."""
    at = _written(value)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _zone(value: object) -> ZoneInfo:
    """A time zone by its IANA name."""
    try:
        return ZoneInfo(str(value))
    except (KeyError, OSError, ValueError):
        raise ValueError("must be the name of a time zone, like Europe/Berlin") from None


Instant = Annotated[datetime, BeforeValidator(_instant)]
LocalTime = Annotated[datetime, BeforeValidator(_written)]
ZoneName = Annotated[str, BeforeValidator(lambda value: _zone(value).key)]


class Span(Sent):
    """A span of time, by default the month so far, and how finely it is cut.

    `from` and `to` without an offset are local times of the time zone; days and months begin in it.
    """

    start: Annotated[LocalTime | None, Field(alias="from")] = None
    end: Annotated[LocalTime | None, Field(alias="to")] = None
    bucket: Bucket | None = None
    time_zone: ZoneName | None = None

    def within(self, now_us: int, own_zone: str = "UTC") -> Bounds:
        """The span, in the zone that is asked for or else in one's own. Raises Problem if it is none.

        One's own zone is left for UTC where days can not be told from full hours: the answer says so.
        """
        zone = zone_of(self.time_zone or own_zone)
        now = datetime.fromtimestamp(now_us / 1_000_000, UTC)
        bounds = self._bounds(now, zone)
        if self.bucket in ("day", "month") and not has_full_hours(zone, *bounds[:2]):
            if self.time_zone is not None:
                message = (
                    "is not full hours from UTC, and sums are kept by full hours: its days and months can "
                    "not be told. Ask for hours, or for another zone"
                )
                raise invalid([("time_zone", message)])
            return self._bounds(now, UTC)
        return bounds

    def _bounds(self, now: datetime, zone: tzinfo) -> Bounds:
        end = now if self.end is None else _placed(self.end, zone)
        first = end.astimezone(zone).date().replace(day=1)
        start = midnight(first, zone) if self.start is None else _placed(self.start, zone)
        if not start < end:
            raise invalid([("to", "must be later than `from`")])
        longest = LONGEST[self.bucket or "month"]
        if end - start > longest:
            raise invalid([("from", f"must be at most {longest.days} days before `to` for this bucket")])
        return start, end, zone


Bounds = tuple[datetime, datetime, tzinfo]
"""From, until but not including, and the time zone."""


def zone_of(name: str) -> tzinfo:
    """A zone that is known, or UTC: this machine may lack one that another machine has stored."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return UTC


def zone_name(zone: tzinfo) -> str:
    """What it is called."""
    return zone.key if isinstance(zone, ZoneInfo) else "UTC"


def _placed(at: datetime, zone: tzinfo) -> datetime:
    """A local time without an offset is one of the zone; the first of two where clocks are put back."""
    return at.replace(tzinfo=zone).astimezone(UTC) if at.tzinfo is None else at

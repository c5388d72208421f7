"""Times as people type them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import click

NO_DAY = "none"


class Instant(click.ParamType[datetime]):
    """A time on the command line: a month, a day, or a day with a time; UTC unless it says otherwise."""

    name = "time"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(f"{value}-01" if re.fullmatch(r"\d{4}-\d{2}", value) else value)
            return at.astimezone(UTC) if at.tzinfo else self.placed(at)
        except (ValueError, OverflowError):
            self.fail("write 2026-03, 2026-03-01 or 2026-03-01T12:00Z", param, ctx)

    def placed(self, at: datetime) -> datetime:
        """What a time without an offset is."""
        return at.replace(tzinfo=UTC)


class Day(click.ParamType[date | str]):
    """A date, or `none`."""

    name = "date"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> date | str:
        """The date, or `NO_DAY`."""
        if value == NO_DAY:
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail("must be a date like 2026-01-31, or none", param, ctx)


class LocalTime(Instant):
    """The same; without an offset it stays so, for whoever knows the time zone."""

    def placed(self, at: datetime) -> datetime:
        return at

"""The period a quota counts in: calendar periods in UTC, half-open, computed from the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from gateway.model.policies import Period

HOUR_S = 3600
DAY_S = 86_400


class Span(NamedTuple):
    """One period: from `start_s` until just before `end_s`, seconds since the epoch."""

    start_s: int
    end_s: int


def period_at(per: Period, now_us: int) -> Span:
    """The period of kind `per` that `now_us` falls into."""
    now_s = now_us // 1_000_000
    if per is Period.MONTH:
        return _month_at(now_s)
    length_s = HOUR_S if per is Period.HOUR else DAY_S
    start_s = now_s - now_s % length_s
    return Span(start_s, start_s + length_s)


def _month_at(now_s: int) -> Span:
    now = datetime.fromtimestamp(now_s, UTC)
    start = datetime(now.year, now.month, 1, tzinfo=UTC)
    end = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    return Span(int(start.timestamp()), int(end.timestamp()))

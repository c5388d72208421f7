"""Sums of events by hour and month. Pure functions: however events are split into batches, sums agree."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gateway.ledger.events import LABELS, instant, mode_text
from gateway.model.usage import UsageEvent

API_CALLS = "api_calls"
INGRESS_BYTES, EGRESS_BYTES, DURATION_MS = "ingress_bytes", "egress_bytes", "duration_ms"
MESSAGES = "messages"
HOUR_US = 3_600_000_000
_LARGEST = (1 << 63) - 1
"""Sums stop there: an amount that nobody believes must not keep the others from being booked."""

_Group = tuple[int, int, int, str, str, str]  # bucket, account, key, route, mode, outcome
_Sums = dict[str, list[int]]  # meter -> events, quantity
TotalRow = tuple[datetime, int, int, str, str, str, str, int, int]
"""bucket start, account id, key id, route, mode, outcome, meter, events, quantity"""


def hourly_totals(events: Iterable[UsageEvent]) -> list[TotalRow]:
    """What to add to `usage_hourly`, sorted by key."""
    groups: dict[_Group, _Sums] = {}
    for event in events:
        group = (
            event.started_at_us // HOUR_US,
            event.account_id or 0,
            event.key_id or 0,
            event.route,
            mode_text(event.mode),
            LABELS[event.outcome],
        )
        sums = groups.get(group)
        if sums is None:
            sums = groups[group] = {API_CALLS: [0, 0]}
        sums[API_CALLS][0] += 1
        for meter, units in event.charges.items():
            if meter == API_CALLS:
                sums[API_CALLS][1] += units
            else:
                _add(sums, meter, units)
        if event.ingress_bytes:
            _add(sums, INGRESS_BYTES, event.ingress_bytes)
        if event.egress_bytes:
            _add(sums, EGRESS_BYTES, event.egress_bytes)
        if event.duration_us >= 1000:
            _add(sums, DURATION_MS, event.duration_us // 1000)
        if event.ingress_messages or event.egress_messages:
            _add(sums, MESSAGES, event.ingress_messages + event.egress_messages)
    return _rows(groups)


def monthly_totals(hourly: Iterable[TotalRow]) -> list[TotalRow]:
    """What to add to `usage_monthly`, from the hours, sorted by key."""
    totals: dict[tuple[datetime, int, int, str, str, str, str], list[int]] = {}
    for row in hourly:
        key = (month_of(row[0]), *row[1:7])
        total = totals.setdefault(key, [0, 0])
        total[0] += row[7]
        total[1] += row[8]
    return [(*key, events, min(quantity, _LARGEST)) for key, (events, quantity) in sorted(totals.items())]


def month_of(at: datetime) -> datetime:
    """The start of its month; `at` must be in UTC."""
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _add(sums: _Sums, meter: str, units: int) -> None:
    if units:
        total = sums.get(meter)
        if total is None:
            sums[meter] = [1, units]
        else:
            total[0] += 1
            total[1] += units


def _rows(groups: dict[_Group, _Sums]) -> list[TotalRow]:
    return sorted(
        (
            instant(hour * HOUR_US),
            account_id,
            key_id,
            route,
            mode,
            outcome,
            meter,
            events,
            min(quantity, _LARGEST),
        )
        for (hour, account_id, key_id, route, mode, outcome), sums in groups.items()
        for meter, (events, quantity) in sums.items()
    )

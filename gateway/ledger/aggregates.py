"""Sums of events by hour and month. Pure functions: however events are split into batches, sums agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from gateway.journal.records import Call
from gateway.ledger.events import LABELS, UsageEvent, instant, mode_text
from gateway.outcomes import Outcome

API_CALLS = "api_calls"
INGRESS_BYTES, EGRESS_BYTES, DURATION_MS = "ingress_bytes", "egress_bytes", "duration_ms"
MESSAGES = "messages"
HOUR_US = 3_600_000_000
_LARGEST = (1 << 63) - 1
"""Sums stop there: an amount that nobody believes must not keep the others from being booked."""

_Cells = dict[tuple[int, int, int, str, str, str, str], list[int]]
"""Hour, account, key, route, mode, outcome, meter -> events, quantity"""
TotalRow = tuple[datetime, int, int, str, str, str, str, int, int]
"""bucket start, account id, key id, route, mode, outcome, meter, events, quantity"""


class Tally:
    """What a batch comes to: one look at each event.

    Calls of a key on a route are the same object when they come from one journal, so events are first added
    up by those, and only these sums by the words that name them.
    """

    def __init__(self, events: Iterable[UsageEvent]) -> None:
        self._groups: dict[tuple[int, int, Outcome], _Group] = {}
        self._add(events)

    def _add(self, events: Iterable[UsageEvent]) -> None:
        groups = self._groups
        for _, begin, end, charges in events:
            _, started_at_us, call = begin
            _, outcome, _, _, ingress, egress, duration_us, _, _, ingress_n, egress_n, _ = end
            key = started_at_us // HOUR_US, id(call), outcome
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group(call)
            group.events += 1
            if started_at_us > group.last_us:  # noqa: PLR1730 - max() takes three times as long
                group.last_us = started_at_us
            if charges is call.charges:
                group.as_planned += 1
            elif charges:
                group.pay(charges)
            if ingress:
                group.ingress_events += 1
                group.ingress_bytes += ingress
            if egress:
                group.egress_events += 1
                group.egress_bytes += egress
            if duration_us >= 1000:
                group.duration_events += 1
                group.duration_ms += duration_us // 1000
            if ingress_n or egress_n:
                group.message_events += 1
                group.messages += ingress_n + egress_n

    def hours(self) -> list[TotalRow]:
        """What to add to `usage_hourly`, sorted by key."""
        cells: _Cells = {}
        for (hour, _, outcome), group in self._groups.items():
            call = group.call
            place = (hour, call.account_id, call.key_id, call.route, mode_text(call.mode), LABELS[outcome])
            for meter, (events, quantity) in group.meters().items():
                cell = cells.setdefault((*place, meter), [0, 0])
                cell[0] += events
                cell[1] += quantity
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
            for (hour, account_id, key_id, route, mode, outcome, meter), (events, quantity) in cells.items()
        )

    def months(self) -> set[datetime]:
        """Months in which there are rows to come."""
        hours = {hour for (hour, _, _), group in self._groups.items() if group.call.raw}
        return {month_of(instant(hour * HOUR_US)) for hour in hours}

    def key_uses(self) -> dict[int, datetime]:
        """When each key was used last."""
        last_us: dict[int, int] = {}
        for group in self._groups.values():
            if key_id := group.call.key_id:
                last_us[key_id] = max(group.last_us, last_us.get(key_id, 0))
        return {key: instant(at_us) for key, at_us in last_us.items()}


class _Group:
    """Events of one call's kind, in one hour and with one outcome."""

    __slots__ = (
        "as_planned",
        "call",
        "duration_events",
        "duration_ms",
        "egress_bytes",
        "egress_events",
        "events",
        "ingress_bytes",
        "ingress_events",
        "last_us",
        "message_events",
        "messages",
        "paid",
    )

    def __init__(self, call: Call) -> None:
        self.call = call
        self.events = self.last_us = self.as_planned = 0
        self.ingress_events = self.ingress_bytes = self.egress_events = self.egress_bytes = 0
        self.duration_events = self.duration_ms = self.message_events = self.messages = 0
        self.paid: dict[str, list[int]] = {}  # of those that pay something else than was planned

    def pay(self, charges: Mapping[str, int]) -> None:
        """Add the charges of one event."""
        self._pay(charges, 1)

    def _pay(self, charges: Mapping[str, int], times: int) -> None:
        for meter, units in charges.items():
            if units:
                sums = self.paid.setdefault(meter, [0, 0])
                sums[0] += times
                sums[1] += units * times

    def meters(self) -> dict[str, tuple[int, int]]:
        """Events and quantity of each meter that has something to add, and of `api_calls`."""
        if self.as_planned:
            self._pay(self.call.charges, self.as_planned)
            self.as_planned = 0
        sums = {meter: (events, quantity) for meter, (events, quantity) in self.paid.items()}
        for meter, events, quantity in (
            (INGRESS_BYTES, self.ingress_events, self.ingress_bytes),
            (EGRESS_BYTES, self.egress_events, self.egress_bytes),
            (DURATION_MS, self.duration_events, self.duration_ms),
            (MESSAGES, self.message_events, self.messages),
        ):
            if events:
                had = sums.get(meter, (0, 0))
                sums[meter] = had[0] + events, had[1] + quantity
        sums[API_CALLS] = self.events, sums.get(API_CALLS, (0, 0))[1]
        return sums


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

"""From journal records to usage events, and from those to rows. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice

from asyncpg.pgproto.pgproto import UUID

from gateway.journal.records import Begin, CallProgress, End
from gateway.model.principal import Mode
from gateway.model.usage import Marks, UsageEvent
from gateway.outcomes import Outcome

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Mapping[str, int] = {}

EVENT_COLUMNS = (
    "started_at",
    "request_id",
    "account_id",
    "key_id",
    "ingress_bytes",
    "egress_bytes",
    "ingress_messages",
    "egress_messages",
    "duration_us",
    "first_byte_us",
    "status",
    "mode",
    "outcome",
    "tier",
    "route",
    "upstream",
    "method",
    "charges",
    "code",
    "refused_by",
    "shadows",
)
EventRow = tuple[
    datetime,
    UUID,
    int | None,
    int | None,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    str,
    str,
    str,
    str,
    str,
    str,
    str,
    str | None,
    list[str] | None,
    list[str] | None,
]

LABELS = [""] * (max(Outcome) + 1)
for _outcome in Outcome:
    LABELS[_outcome] = _outcome.label


def ended_event(prefix: bytes, begin: Begin, end: End) -> UsageEvent:
    """The event of a call that is over. `prefix` names its journal."""
    as_planned = end.billed and not end.measured and end.units is None
    return _event(prefix, begin, end, begin.call.charges if as_planned else _due(begin, end))


def interrupted_event(prefix: bytes, last: Begin | CallProgress) -> UsageEvent:
    """The event of a call whose worker died, with what had flowed when it was `last` noted.

    Nobody knows how it went on, so it costs nothing, but for charges that policies keep in any case.
    """
    if isinstance(last, Begin):
        last = CallProgress(last, 0, 0, 0, 0, 0, 0, 0)
    begin = last.begin
    figures = End(
        begin.sequence,
        Outcome.INTERRUPTED,
        False,
        last.status,
        last.ingress_bytes,
        last.egress_bytes,
        last.duration_us,
        last.first_byte_us,
        _NOTHING,
        last.ingress_messages,
        last.egress_messages,
    )
    kept = begin.call.kept_charges
    return _event(
        prefix, begin, figures, dict(islice(begin.call.charges.items(), kept)) if kept else _NOTHING
    )


def _due(begin: Begin, end: End) -> Mapping[str, int]:
    if end.units is not None:
        return {meter: units for meter, units in zip(begin.call.charges, end.units, strict=False) if units}
    if not end.billed:
        return _NOTHING
    due = dict(begin.call.charges)
    for meter, units in end.measured.items():
        due[meter] = due.get(meter, 0) + units
    return due


def _event(prefix: bytes, begin: Begin, end: End, charges: Mapping[str, int]) -> UsageEvent:
    sequence, started_at_us, call = begin
    account_id, key_id, mode, tier, route, method, _, raw, marks, upstream, _ = call
    _, outcome, _, status, ingress, egress, duration_us, first_byte_us, _, ingress_n, egress_n, _ = end
    return UsageEvent(
        prefix + sequence.to_bytes(6, "big"),
        started_at_us,
        account_id or None,
        key_id or None,
        mode,
        tier,
        route,
        method,
        outcome,
        status,
        ingress,
        egress,
        duration_us,
        first_byte_us,
        charges,
        ingress_n,
        egress_n,
        upstream,
        raw,
        marks,
    )


def event_row(event: UsageEvent) -> EventRow:
    """The row of `usage_events`, in the order of `EVENT_COLUMNS`."""
    (
        request_id,
        started_at_us,
        account_id,
        key_id,
        mode,
        tier,
        route,
        method,
        outcome,
        status,
        ingress_bytes,
        egress_bytes,
        duration_us,
        first_byte_us,
        charges,
        ingress_messages,
        egress_messages,
        upstream,
        _,
        marks,
    ) = event
    code, refused_by, shadows = _NO_MARKS if marks is None else _marked(marks)
    return (
        instant(started_at_us),
        UUID(request_id),
        account_id,
        key_id,
        ingress_bytes,
        egress_bytes,
        ingress_messages,
        egress_messages,
        duration_us,
        first_byte_us,
        status,
        mode_text(mode),
        LABELS[outcome],
        tier,
        route,
        upstream,
        method,
        _charges_text(tuple(charges.items())) if charges else "{}",
        code,
        refused_by,
        shadows,
    )


_NO_MARKS = (None, None, None)


def _marked(marks: Marks) -> tuple[str | None, list[str] | None, list[str] | None]:
    return marks.code or None, list(marks.refused_by) or None, list(marks.shadows) or None


def mode_text(mode: Mode) -> str:
    """`mode.value`, at a tenth of its price."""
    return "test" if mode is Mode.TEST else "live"


def instant(at_us: int) -> datetime:
    """Microseconds since the epoch as a UTC datetime, exactly."""
    return EPOCH + timedelta(0, 0, at_us)


@lru_cache(maxsize=4096)
def _charges_text(charges: tuple[tuple[str, int], ...]) -> str:
    return json.dumps(dict(charges))

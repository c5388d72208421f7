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
    return _event(prefix, begin, end, _due(begin, end))


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
    if not end.measured:
        return begin.call.charges
    due = dict(begin.call.charges)
    for meter, units in end.measured.items():
        due[meter] = due.get(meter, 0) + units
    return due


def _event(prefix: bytes, begin: Begin, end: End, charges: Mapping[str, int]) -> UsageEvent:
    call = begin.call
    return UsageEvent(
        prefix + begin.sequence.to_bytes(6, "big"),
        begin.started_at_us,
        call.account_id or None,
        call.key_id or None,
        call.mode,
        call.tier,
        call.route,
        call.method,
        end.outcome,
        end.status,
        end.ingress_bytes,
        end.egress_bytes,
        end.duration_us,
        end.first_byte_us,
        charges,
        end.ingress_messages,
        end.egress_messages,
        call.upstream,
        call.raw,
        call.marks,
    )


def event_row(event: UsageEvent) -> EventRow:
    """The row of `usage_events`, in the order of `EVENT_COLUMNS`."""
    return (
        instant(event.started_at_us),
        UUID(event.request_id),
        event.account_id,
        event.key_id,
        event.ingress_bytes,
        event.egress_bytes,
        event.ingress_messages,
        event.egress_messages,
        event.duration_us,
        event.first_byte_us,
        event.status,
        mode_text(event.mode),
        LABELS[event.outcome],
        event.tier,
        event.route,
        event.upstream,
        event.method,
        _charges_text(tuple(event.charges.items())) if event.charges else "{}",
        *(_NO_MARKS if event.marks is None else _marked(event.marks)),
    )


_NO_MARKS = (None, None, None)


def _marked(marks: Marks) -> tuple[str | None, list[str] | None, list[str] | None]:
    return marks.code or None, list(marks.refused_by) or None, list(marks.shadows) or None


def mode_text(mode: Mode) -> str:
    """`mode.value`, at a tenth of its price."""
    return "test" if mode is Mode.TEST else "live"


def instant(at_us: int) -> datetime:
    """Microseconds since the epoch as a UTC datetime, exactly."""
    return EPOCH + timedelta(microseconds=at_us)


@lru_cache(maxsize=4096)
def _charges_text(charges: tuple[tuple[str, int], ...]) -> str:
    return json.dumps(dict(charges))

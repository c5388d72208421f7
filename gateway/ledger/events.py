"""From journal records to usage events. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import NamedTuple

from gateway.journal.records import Begin, CallProgress, End
from gateway.model.principal import Mode
from gateway.outcomes import Outcome

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Mapping[str, int] = {}

LABELS = [""] * (max(Outcome) + 1)
for _outcome in Outcome:
    LABELS[_outcome] = _outcome.label


class UsageEvent(NamedTuple):
    """One finished request, as journals carry it and the ledger books it.

    `charges` are the units of meters this call pays: those of its begin (the same object) if it is billed as
    was planned; empty for an outcome that is not billed.

    A tuple of what is there already, because the recorder makes each of them.
    """

    prefix: bytes  # of its journal
    begin: Begin
    end: End
    charges: Mapping[str, int]

    @property
    def request_id(self) -> bytes:
        """Its natural key: 16 bytes, a UUID. Booking it twice changes nothing."""
        return self.prefix + self.begin.sequence.to_bytes(6, "big")

    @property
    def started_at(self) -> datetime:
        """When it began, or was admitted."""
        return instant(self.begin.started_at_us)

    @property
    def ended_at_us(self) -> int:
        """When it was over."""
        return self.begin.started_at_us + self.end.duration_us


_new_event = partial(tuple.__new__, UsageEvent)  # what `UsageEvent(...)` does, for half of its price


def ended_event(prefix: bytes, begin: Begin, end: End) -> UsageEvent:
    """The event of a call that is over. `prefix` names its journal."""
    as_planned = end.billed and not end.measured and end.units is None
    return _new_event((prefix, begin, end, begin.call.charges if as_planned else _due(begin, end)))


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
    charges = dict(islice(begin.call.charges.items(), kept)) if kept else _NOTHING
    return UsageEvent(prefix, begin, figures, charges)


def _due(begin: Begin, end: End) -> Mapping[str, int]:
    if end.units is not None:
        return {meter: units for meter, units in zip(begin.call.charges, end.units, strict=False) if units}
    if not end.billed:
        return _NOTHING
    due = dict(begin.call.charges)
    for meter, units in end.measured.items():
        due[meter] = due.get(meter, 0) + units
    return due


def mode_text(mode: Mode) -> str:
    """`mode.value`, at a tenth of its price."""
    return "test" if mode is Mode.TEST else "live"


def instant(at_us: int) -> datetime:
    """Microseconds since the epoch as a UTC datetime, exactly."""
    return EPOCH + timedelta(0, 0, at_us)

"""Usage events that tests make without a journal."""

from __future__ import annotations

from gateway.journal.records import Begin, Call, End
from gateway.ledger.events import UsageEvent
from gateway.outcomes import Outcome


def an_event(
    request_id: bytes,
    started_at_us: int,
    call: Call,
    *,
    outcome: Outcome = Outcome.SERVED,
    status: int = 200,
    ingress_bytes: int = 0,
    egress_bytes: int = 0,
    duration_us: int = 0,
    first_byte_us: int = 0,
) -> UsageEvent:
    """A call that pays what was planned, whatever its outcome."""
    prefix, sequence = request_id[:10], int.from_bytes(request_id[10:], "big")
    figures = status, ingress_bytes, egress_bytes, duration_us, first_byte_us
    end = End(sequence, outcome, True, *figures, {})
    return UsageEvent(prefix, Begin(sequence, started_at_us, call), end, call.charges)

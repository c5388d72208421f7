"""The stage that notes every request: a begin before the upstream hears of it, one end however it ends."""

from __future__ import annotations

import logging
from bisect import bisect_left

from gateway.clock import Clock
from gateway.errors import JournalUnavailable
from gateway.frames import Conversation
from gateway.journal.records import (
    BILLED,
    ITEMISED,
    NO_CHARGES,
    Call,
    Figures,
    Reached,
    encode_begin,
    encode_call,
    encode_charges,
    encode_end,
    encode_end_of_messages,
    encode_marks,
    encode_progress,
    encode_units,
    encode_whole,
)
from gateway.journal.writer import JournalWriter
from gateway.metering.charges import kept_charges, marks_beyond, planned_charges
from gateway.metering.dues import Dues
from gateway.metering.request_ids import RequestIds
from gateway.model.billing import Billing
from gateway.model.exchange import Exchange
from gateway.model.policies import ChargePlan, Route
from gateway.model.principal import Mode, Principal
from gateway.model.usage import billable
from gateway.outcomes import Outcome
from gateway.telemetry.catalogue import BY_NAME, slot
from gateway.telemetry.slots import Slots

MAX_CACHED_CALLS = 10_000

log = logging.getLogger("tollway.metering")

_Cached = tuple[Principal | None, ChargePlan | None, Route | None, bytes, bytes]
"""What calls are of, and their part of a record: of those that are sent on, and of those that are not."""


class Meter:
    """Numbers, begins and ends the requests of one worker.

    `pass_unrecorded`: calls whose begin finds no room are made all the same. There may be room at their end.
    """

    def __init__(
        self,
        writer: JournalWriter,
        slots: Slots,
        clock: Clock,
        request_ids: RequestIds,
        *,
        pass_unrecorded: bool = False,
    ) -> None:
        self._writer = writer
        self._durable = writer.durable
        self._pass_unrecorded = pass_unrecorded
        self._clock = clock
        self._cells = slots.cells
        self._id_prefix = request_ids.text_prefix
        self._sequence = 0
        self._calls: dict[tuple[int, int, int, str], _Cached] = {}
        self._outcome_slots = [0] * (max(Outcome) + 1)  # by number: hashing an enum costs more than all else
        for outcome in Outcome:
            self._outcome_slots[outcome] = slot("requests_total", outcome.label)
        bounds = BY_NAME["request_duration_seconds"].bounds
        self._bounds_us = [round(bound * 1_000_000) for bound in bounds]
        self._duration_slot = slot("request_duration_seconds")
        self._duration_sum_slot = self._duration_slot + len(bounds) + 1
        self._ingress_slot = slot("ingress_bytes_total")
        self._egress_slot = slot("egress_bytes_total")
        self._messages_in_slot = slot("messages_total", "ingress")
        self._messages_out_slot = slot("messages_total", "egress")
        self._dues = Dues(slots)
        self._records_slot = slot("journal_records_total")
        self._errors_slot = slot("journal_errors_total")
        self._unrecorded_slot = slot("unrecorded_total")

    def identify(self, exchange: Exchange) -> None:
        """Give the request its number, id and start. First thing that happens to it."""
        self._sequence = sequence = self._sequence + 1
        exchange.sequence = sequence
        exchange.request_id = b"%b%012x" % (self._id_prefix, sequence)
        exchange.started_at_us = self._clock.now_us()
        exchange.started_monotonic_us = self._clock.monotonic_us()

    def begin(self, exchange: Exchange) -> None:
        """Note the call so that it survives our death. Raises JournalUnavailable: then do not make it.

        It is booked in the periods it was charged in: where one of them ended while the call waited, or our
        clock is not quite Redis's, it counts as begun at that moment.
        """
        grant = exchange.grant
        if grant is not None and not grant.periods.start_us <= exchange.started_at_us < grant.periods.end_us:
            exchange.started_at_us = grant.periods.nearest(exchange.started_at_us)
        body = encode_begin(exchange.sequence, exchange.started_at_us, self._call(exchange))
        try:
            self._writer.begin(body)
        except JournalUnavailable:
            self._cells[self._errors_slot] += 1
            if self._pass_unrecorded:
                return
            raise
        self._cells[self._records_slot] += 1
        exchange.begun = True
        if self._durable and not self._secured() and not self._pass_unrecorded:
            raise JournalUnavailable(internal="the disk did not keep the record")

    def end(self, exchange: Exchange) -> None:
        """Note how the request ended, in the journal and in the metrics. Once per request. Never raises.

        A request that never began is one record, which is lost (and counted as an error) while the journal
        can not grow; such a request was refused, so no money is in it. Unless it was let pass unrecorded.
        """
        duration_us = self._clock.monotonic_us() - exchange.started_monotonic_us
        answered_at_us = exchange.answered_at_us
        first_byte_us = answered_at_us - exchange.started_monotonic_us if answered_at_us else 0
        outcome = exchange.outcome
        if outcome is None:
            outcome = Outcome.UNEXPECTED
        status, ingress, egress = exchange.status, exchange.ingress_bytes, exchange.egress_bytes
        if not exchange.begun and self._pass_unrecorded and exchange.grant is not None:
            self._begin_late(exchange)
        if exchange.begun:
            route, units = exchange.route, NO_CHARGES
            if route is None or route.billing is None:
                flags = BILLED if outcome is Outcome.SERVED or billable(outcome, status) else 0
            else:
                flags, units = self._itemise(exchange, route.billing, outcome, duration_us)
            if flags == BILLED and exchange.grant is not None and exchange.grant.beyond:
                units = encode_charges(marks_beyond(exchange.grant.beyond))
            figures = (outcome, flags, status, ingress, egress, duration_us, first_byte_us)
            if exchange.conversation is None:
                body = encode_end(exchange.sequence, figures, units)
            else:
                body = self._end_of(exchange.conversation, exchange.sequence, figures, units)
            written = self._writer.end(body)
            if self._durable:
                self._secured()
        else:
            self._leave_unbilled(exchange, outcome, duration_us)
            figures = (outcome, 0, status, ingress, egress, duration_us, first_byte_us)
            body = encode_whole(
                exchange.sequence, exchange.started_at_us, self._call(exchange, is_sent=False), figures
            )
            written = self._writer.whole(body)
        cells = self._cells
        cells[self._records_slot if written else self._errors_slot] += 1
        cells[self._outcome_slots[outcome]] += 1
        cells[self._duration_slot + bisect_left(self._bounds_us, duration_us)] += 1
        cells[self._duration_sum_slot] += duration_us
        if ingress:
            cells[self._ingress_slot] += ingress
        if egress:
            cells[self._egress_slot] += egress

    def _begin_late(self, exchange: Exchange) -> None:
        """For a call that passed unrecorded: it may have become possible to write it down."""
        try:
            self._writer.begin(encode_begin(exchange.sequence, exchange.started_at_us, self._call(exchange)))
        except JournalUnavailable:
            self._cells[self._unrecorded_slot] += 1
        else:
            self._cells[self._records_slot] += 1
            exchange.begun = True

    def _itemise(
        self, exchange: Exchange, billing: Billing, outcome: Outcome, duration_us: int
    ) -> tuple[int, bytes]:
        """Flags and units for the end of a call that is not billed as usual; notes what is due."""
        planned = planned_charges(exchange.charges, exchange.route)
        due = exchange.due = self._dues.of(billing, planned, exchange, outcome, duration_us)
        if due == planned:
            return BILLED, NO_CHARGES
        if not any(due.values()):
            return 0, NO_CHARGES
        return ITEMISED, encode_units(list(due.values()))

    def _leave_unbilled(self, exchange: Exchange, outcome: Outcome, duration_us: int) -> None:
        """A call without a begin has no row that costs; its quotas still count what passed unrecorded."""
        route = exchange.route
        if exchange.grant is None or route is None or route.billing is None:
            return
        exchange.due = {}
        if self._pass_unrecorded:
            self._itemise(exchange, route.billing, outcome, duration_us)

    def _secured(self) -> bool:
        try:
            self._writer.secure()
        except JournalUnavailable as error:
            self._cells[self._errors_slot] += 1
            log.error("a record may not survive a power loss", extra={"error": error.internal})  # noqa: TRY400  says it all
            return False
        return True

    def _end_of(self, conversation: Conversation, sequence: int, figures: Figures, units: bytes) -> bytes:
        messages = (conversation.ingress.messages, conversation.egress.messages)
        self._cells[self._messages_in_slot] += messages[0]
        self._cells[self._messages_out_slot] += messages[1]
        return encode_end_of_messages(sequence, figures, messages, units)

    def progress(self, exchange: Exchange, reached: Reached) -> bool:
        """Note how far a begun call is. False when the journal can not grow."""
        call = self._call(exchange)
        written = self._writer.progress(
            encode_progress(exchange.sequence, exchange.started_at_us, call, reached)
        )
        self._cells[self._records_slot if written else self._errors_slot] += 1
        return written

    @property
    def segment(self) -> int:
        """The number of the journal's segment in use."""
        return self._writer.segment

    def close(self) -> None:
        """End the journal. What has not ended by now is booked as interrupted."""
        self._writer.close()

    def _call(self, exchange: Exchange, *, is_sent: bool = True) -> bytes:
        """The part of the record that a key's calls of one route have in common."""
        principal, plan, route = exchange.principal, exchange.charges, exchange.route
        key = (id(principal), id(plan), id(route), exchange.head.method)
        cached = self._calls.get(key)
        if cached is None:
            if len(self._calls) >= MAX_CACHED_CALLS:
                self._calls.clear()
            # The entry keeps the objects alive, so none of their ids can come to mean another object.
            call = _call(principal, plan, route, exchange.head.method)
            # Whoever is nobody must not fill the ledger: what is refused is in the sums alone.
            refused = encode_call(call._replace(upstream="", raw=call.raw and call.account_id != 0))
            self._calls[key] = cached = (principal, plan, route, encode_call(call), refused)
        call_bytes = cached[3] if is_sent else cached[4]
        marks = exchange.marks
        return call_bytes if marks is None else call_bytes + encode_marks(marks)


def _call(principal: Principal | None, plan: ChargePlan | None, route: Route | None, method: str) -> Call:
    planned = planned_charges(plan, route)
    return Call(
        account_id=principal.account_id if principal is not None else 0,
        key_id=principal.key_id if principal is not None else 0,
        mode=principal.mode if principal is not None else Mode.LIVE,
        tier=plan.tier.name if plan is not None else principal.tier if principal is not None else "",
        route=route.name if route is not None else "",
        method=method,
        charges=planned,
        raw=route.raw if route is not None else True,
        upstream=route.upstream.name if route is not None else "",
        kept_charges=kept_charges(planned, route),
    )

"""What a call turns out to cost: the units of each of its charges, by how it ended and what was reported."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fractions import Fraction
from math import ceil

from gateway.model.billing import CUT_SHORT, NOTHING_READ, Billing, Found, Measure, Reading, Value
from gateway.model.exchange import Exchange
from gateway.outcomes import Outcome
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

TOLD_MAX = 1000
"""Kinds of values amiss that are logged, each once."""

log = logging.getLogger("tollway.metering")


class Dues:
    """Works out what is due, and counts what answers say of it."""

    def __init__(self, slots: Slots) -> None:
        self._cells = slots.cells
        self._found_slots = {found: slot("meter_values_total", found.value) for found in Found}
        self._told: set[tuple[str, str, Found]] = set()

    def of(
        self,
        billing: Billing,
        planned: Mapping[str, int],
        exchange: Exchange,
        outcome: Outcome,
        duration_us: int,
    ) -> dict[str, int]:
        """Units of each planned charge, in their order; 0 of those that are not billed. Never raises."""
        status = exchange.status
        due: dict[str, int] = {}
        for meter, units in planned.items():
            rule = billing.rules[meter]
            if not rule.bill_on.bills(outcome, status):
                due[meter] = 0
            elif rule.value is None:
                due[meter] = units
            elif rule.value.measure is not None:
                measured = _measured(rule.value.measure, exchange, duration_us)
                due[meter] = self._units(rule.value, measured, exchange, meter)
            else:
                due[meter] = self._reported(rule.value, exchange, outcome, meter)
        return due

    def _reported(self, value: Value, exchange: Exchange, outcome: Outcome, meter: str) -> int:
        report = exchange.report
        reading: Reading = NOTHING_READ if report is None else report.reading(value)
        is_read = reading.found is Found.READ
        is_cut = outcome in CUT_SHORT and not (is_read and reading.is_final)
        incomplete = is_cut and reading.found is Found.INVALID and not reading.is_final
        self._count(Found.MISSING if incomplete else reading.found, exchange, meter)
        units = self._units(value, reading.value, exchange, meter) if is_read else value.default
        if is_cut:
            # Who hangs up before the end of the answer told must not get it for nothing.
            return max(units if is_read else 0, value.reserve)
        return units

    def _units(self, value: Value, amount: Fraction, exchange: Exchange, meter: str) -> int:
        units = ceil(amount * value.factor)
        if units > value.most:
            self._count(Found.CAPPED, exchange, meter)
            return value.most
        return units

    def _count(self, found: Found, exchange: Exchange, meter: str) -> None:
        self._cells[self._found_slots[found]] += 1
        if found in (Found.READ, Found.MISSING):
            return
        route = exchange.route.name if exchange.route is not None else ""
        kind = (route, meter, found)
        if kind not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(kind)
            log.warning(
                "a value of the meter %s is not as it should be (%s); this is told once, "
                "tollway_meter_values_total counts",
                meter,
                found.value,
                extra={"route": route, "request_id": exchange.request_id.decode()},
            )


def _measured(measure: Measure, exchange: Exchange, duration_us: int) -> Fraction:
    if measure is Measure.REQUEST_BYTES:
        return Fraction(exchange.ingress_bytes)
    if measure is Measure.RESPONSE_BYTES:
        return Fraction(exchange.egress_bytes)
    return Fraction(duration_us, 1_000_000)

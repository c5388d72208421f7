"""What a call turns out to cost."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import cast

import pytest

from gateway.metering.dues import Dues
from gateway.model.billing import (
    UNITS_MAX,
    USUAL,
    Billing,
    BillOn,
    Found,
    Measure,
    Reading,
    Rule,
    Value,
)
from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.outcomes import Outcome
from gateway.telemetry.slots import Slots

TOKENS = Value(json=(("usage",),), default=7, reserve=100, most=1000)


class Said:
    """A report that says one thing."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def reading(self, _: Value) -> Reading:
        return self._reading


def read(value: Fraction | int, *, is_final: bool = True) -> Reading:
    return Reading(Found.READ, Fraction(value), is_final)


def due(
    value: Value,
    reading: Reading | None,
    outcome: Outcome = Outcome.SERVED,
    *,
    status: int = 200,
    slots: Slots | None = None,
    bill_on: BillOn = USUAL,
) -> int:
    exchange = Exchange(RequestHead(), cast("Downstream", None), b"")
    exchange.status = status
    exchange.ingress_bytes, exchange.egress_bytes = 1025, 3
    exchange.report = None if reading is None else Said(reading)
    billing = Billing({"tokens": Rule(bill_on, value)})
    dues = Dues(slots or Slots.in_memory())
    return dues.of(billing, {"tokens": value.reserve}, exchange, outcome, 61_000_001)["tokens"]


@pytest.mark.parametrize(
    ("case", "reading", "units"),
    [
        ("as it says", read(21), 21),
        ("nothing", read(0), 0),
        ("a part counts as a whole unit", read(Fraction(1, 10)), 1),
        ("at most so many", read(5000), 1000),
        ("not said", Reading(Found.MISSING), 7),
        ("nonsense", Reading(Found.INVALID), 7),
        ("said twice", Reading(Found.SEVERAL), 7),
        ("never answered", None, 7),
    ],
)
def test_a_whole_answer_says_what_it_costs(case: str, reading: Reading | None, units: int) -> None:
    assert due(TOKENS, reading) == units, case


@pytest.mark.parametrize(
    ("case", "reading", "units"),
    [
        ("before anything was said: the reserve", Reading(Found.MISSING), 100),
        ("half a document: the reserve", Reading(Found.INVALID, is_final=False), 100),
        ("what was said so far, if that is more", read(300, is_final=False), 300),
        ("and no less than the reserve", read(3, is_final=False), 100),
        ("unless the answer had said it for good", read(3), 3),
    ],
)
@pytest.mark.parametrize("outcome", [Outcome.CLIENT_ABORTED, Outcome.ACCESS_ENDED])
def test_who_hangs_up_gets_nothing_for_nothing(
    case: str, reading: Reading, units: int, outcome: Outcome
) -> None:
    assert due(TOKENS, reading, outcome) == units, case


def test_what_is_not_billed_costs_nothing_whatever_was_said() -> None:
    assert due(TOKENS, read(21), Outcome.UPSTREAM_ERROR, status=500) == 0
    billed = BillOn({Outcome.UPSTREAM_ERROR: 1 << 500})
    assert due(TOKENS, read(21), Outcome.UPSTREAM_ERROR, status=500, bill_on=billed) == 21


@pytest.mark.parametrize(
    ("measure", "factor", "units"),
    [
        (Measure.REQUEST_BYTES, Fraction(1), 1025),
        (Measure.REQUEST_BYTES, Fraction(1, 1024), 2),
        (Measure.RESPONSE_BYTES, Fraction(10), 30),
        (Measure.SECONDS, Fraction(1), 62),
        (Measure.SECONDS, Fraction(1, 60), 2),
        (Measure.SECONDS, Fraction(1_000_000), 61_000_001),
    ],
)
def test_what_the_gateway_measures(measure: Measure, factor: Fraction, units: int) -> None:
    value = Value(measure=measure, factor=factor, reserve=100)
    assert due(value, None) == units
    assert due(value, None, Outcome.CLIENT_ABORTED) == units, "it is known however the call ends"


def test_no_call_costs_more_than_sums_can_hold() -> None:
    value = Value(header=b"x", factor=Fraction(10**6))
    assert due(value, read(10**30)) == UNITS_MAX


def test_what_was_said_is_counted_and_what_is_amiss_told_once(caplog: pytest.LogCaptureFixture) -> None:
    slots = Slots.in_memory()
    with caplog.at_level(logging.WARNING, "tollway.metering"):
        due(TOKENS, read(5000), slots=slots)
        due(TOKENS, Reading(Found.MISSING), slots=slots)
        due(TOKENS, Reading(Found.INVALID, is_final=False), Outcome.CLIENT_ABORTED, slots=slots)
        due(TOKENS, read(1), Outcome.TIMEOUT, status=504, slots=slots)
    counted = {found: slots.get("meter_values_total", found.value) for found in Found}
    assert counted == dict.fromkeys(Found, 0) | {Found.READ: 1, Found.CAPPED: 1, Found.MISSING: 2}
    assert [record.getMessage()[:50] for record in caplog.records] == [
        "a value of the meter tokens is not as it should be"
    ]

"""From what documents say about billing to the rules by which the charges of a route become due."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from gateway.model.billing import (
    ANY_STATUS,
    BILLABLE,
    USUAL,
    Billing,
    BillOn,
    JsonPath,
    Measure,
    Rule,
    Value,
)
from gateway.outcomes import Outcome
from gateway.policy.billing_documents import (
    BillOnDocument,
    ChargeDocument,
    Ends,
    MeterDocument,
    Paths,
)
from gateway.policy.documents import RouteDocument
from gateway.policy.texts import size_bytes

_NOT_OF_THE_UPSTREAM = 1 << 408
"""A call that was cut short with this status was answered by the gateway: its request never became whole."""


def compile_bill_on(document: BillOnDocument | None, otherwise: BillOn) -> BillOn:
    """What is written, and for other outcomes what holds otherwise."""
    statuses = dict(otherwise.statuses)
    for outcome in BILLABLE if document is not None else ():
        ends = getattr(document, outcome.label)
        if ends is not None:
            statuses[outcome] = _statuses(outcome, ends)
    return BillOn(MappingProxyType({outcome: bits for outcome, bits in statuses.items() if bits}))


def _statuses(outcome: Outcome, ends: Ends) -> int:
    if isinstance(ends, bool):
        return ANY_STATUS if ends else 0
    bits = 0
    for one in map(str, ends):
        first = int(one[0]) * 100
        if one.endswith("xx"):
            whole_class = ((1 << 100) - 1) << first
            bits |= whole_class if outcome is Outcome.SERVED else whole_class & ~_NOT_OF_THE_UPSTREAM
        else:
            bits |= 1 << int(one)
    return bits


def compile_billing(
    route: RouteDocument, bill_on: BillOn, meters: Mapping[str, MeterDocument]
) -> Billing | None:
    """How the charges of a route are billed; None when that is as usual. `bill_on`: that of the folder."""
    of_route = compile_bill_on(route.bill_on, bill_on)
    rules = {
        name: Rule(
            compile_bill_on(charge.bill_on, of_route),
            _value(charge, meters[name].scale) if charge.sources else None,
        )
        for name, charge in route.charges.items()
    }
    if all(rule.value is None and rule.bill_on == USUAL for rule in rules.values()):
        return None
    return Billing(MappingProxyType(rules))


def _value(charge: ChargeDocument, scale: int) -> Value:
    return Value(
        header=(charge.response_header or "").lower().encode(),
        trailer=(charge.response_trailer or "").lower().encode(),
        json=_paths(charge.response_json),
        events=_paths(charge.response_events),
        measure=Measure(charge.measured) if charge.measured else None,
        factor=Fraction(scale * charge.times, charge.per),
        default=charge.default,
        reserve=charge.reserve,
        most=charge.max,
        within=size_bytes(charge.within) or 0,
    )


def _paths(paths: Paths | None) -> tuple[JsonPath, ...]:
    written = [paths] if isinstance(paths, str) else paths or []
    return tuple(tuple(path.split(".")) for path in written)

"""Which ends of a call cost something, and where units come from that are known only then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import NamedTuple, Protocol

from gateway.outcomes import Outcome

UNITS_MAX = 10**12
"""Of one meter in one call. Sums of millions of such calls still fit 64 bits."""

BILLABLE = (
    Outcome.SERVED,
    Outcome.CLIENT_ABORTED,
    Outcome.UPSTREAM_ERROR,
    Outcome.UPSTREAM_ABORTED,
    Outcome.TIMEOUT,
    Outcome.ACCESS_ENDED,
    Outcome.INTERRUPTED,
)
"""Ends of calls that were admitted. All others were refused, or failed through the gateway, and are free."""

CUT_SHORT = frozenset(
    (Outcome.CLIENT_ABORTED, Outcome.ACCESS_ENDED, Outcome.UPSTREAM_ABORTED, Outcome.TIMEOUT)
)
"""The answer did not come to its end."""

_BELOW_500 = sum(1 << status for status in range(100, 500))
_BEGUN = _BELOW_500 & ~(1 << 408)  # 408 is the gateway's own answer to a request that never became whole
ANY_STATUS = (1 << 1000) - 1


@dataclass(frozen=True, slots=True)
class BillOn:
    """Outcomes that are billed, each with the statuses it is billed for: bit n of the number is status n."""

    statuses: Mapping[Outcome, int]

    def bills(self, outcome: Outcome, status: int) -> bool:
        """Whether a call that ended like this costs something. Status 0: no answer was sent."""
        return bool(self.statuses.get(outcome, 0) >> status & 1)


USUAL = BillOn(
    {Outcome.SERVED: ANY_STATUS, Outcome.CLIENT_ABORTED: _BEGUN, Outcome.ACCESS_ENDED: _BEGUN},
)
"""Where policies say nothing: billed once the upstream has begun to answer below 500, and no sooner."""


class Measure(Enum):
    """What the gateway itself knows of a call at its end."""

    REQUEST_BYTES = "request_bytes"
    RESPONSE_BYTES = "response_bytes"
    SECONDS = "seconds"  # from the request's head to the end of the answer, or of the tunnel


JsonPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """Where the units of a meter come from. Sources are looked at in the order of the fields."""

    header: bytes = b""  # lower case
    trailer: bytes = b""
    json: tuple[JsonPath, ...] = ()  # the first that is there
    events: tuple[JsonPath, ...] = ()
    measure: Measure | None = None
    factor: Fraction = field(default=Fraction(1))  # units for 1 of the value
    default: int = 0  # units, when a whole answer does not say
    reserve: int = 1  # units, charged when the call is admitted
    most: int = UNITS_MAX
    within: int = 0  # bytes of an answer, or of one event, that are looked at


class Found(Enum):
    """What came of looking for a value."""

    READ = "read"
    MISSING = "missing"
    INVALID = "invalid"  # not a number, or below 0
    SEVERAL = "several"
    TOO_LARGE = "too_large"  # more than `within`
    UNDECODABLE = "undecodable"  # a content coding that can not be undone here
    CAPPED = "capped"  # read, and more than `most`


class Reading(NamedTuple):
    """A value as the upstream said it; it is there when it was `READ`."""

    found: Found
    value: Fraction = Fraction(0)
    is_final: bool = True  # no later part of the answer could have changed it


NOTHING_READ = Reading(Found.MISSING)


class Report(Protocol):
    """What an answer says about the units of its call."""

    def reading(self, value: Value) -> Reading:
        """The value as far as the answer has come. Never raises."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When the charge of one meter is due, and how much that is; `value` None: what was charged."""

    bill_on: BillOn
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Billing:
    """How the charges of a route are billed, where that is not as usual: a rule for each of its meters."""

    rules: Mapping[str, Rule]
    reads: bool = field(init=False)  # whether answers have to be read
    headers: frozenset[bytes] = field(init=False)  # lower case: taken out of answers

    def __post_init__(self) -> None:
        values = [rule.value for rule in self.rules.values() if rule.value is not None]
        named = frozenset(value.header for value in values if value.header)
        object.__setattr__(self, "headers", named)
        object.__setattr__(self, "reads", any(value.measure is None for value in values))

    def due_if_interrupted(self, meter: str) -> bool:
        """Whether what was charged stays charged when nobody knows how the call ended."""
        return self.rules[meter].bill_on.bills(Outcome.INTERRUPTED, 0)

"""What answers tell callers about their limits, in the dialect the policies choose; the tightest first.

The RateLimit field (draft-ietf-httpapi-ratelimit-headers-11): `r` is available, `t` the effective window. A
token bucket has no reset; its window is the time `r` tokens take to flow in, so that `r`/`t` stays near the
true rate. A quota's window ends with its period.

The legacy fields know one limit, the tightest. `Reset` is in seconds from now: until the bucket is full or
the period ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.admission.charges import Charges
from gateway.admission.store import Decision
from gateway.model.policies import LimitFields

LEGACY = b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %s\r\nX-RateLimit-Reset: %d\r\n"


FORMS_MAX = 64
"""Orders of charges remembered for a plan; most plans have one or two."""


Rank = tuple[bool, int, int, int, int]
"""How tight a charge is, the least is the tightest: whether it is lenient, minus its wait in ms, the calls
that fit, minus its window in s, its position. A plain tuple: one is made for each charge of each exact call.
"""


class Template(NamedTuple):
    """Complete lines with a `%d` for what is left of each of the charges at these positions."""

    lines: bytes
    shown: tuple[int, ...]


def granted_lines(charges: Charges, decision: Decision) -> bytes:
    """The lines for an admitted call. Calls bought ahead with it are still available."""
    available = _available(charges, decision, decision.extra)
    return _lines(charges, decision, available, available)


def leased_lines(charges: Charges, decision: Decision, calls: int) -> Template:
    """The lines for the calls of a lease that has `calls` of them.

    Windows and order are those of the purchase: half a second later they are as good, and cost nothing.
    """
    available = _available(charges, decision, calls)
    if charges.fields is LimitFields.OFF or not charges.shown:
        return Template(b"", ())
    ranks = _ranked(charges, decision, available)
    if charges.fields is LimitFields.LEGACY:
        first = ranks[0][4]
        reset_s = _reset_s(charges, decision, available, first)
        return Template(LEGACY % (charges.sizes[first], b"%d", reset_s), (first,))
    items = [
        b'"%s";r=%%d;t=%d' % (charges.names[position].encode(), -minus_window_s)
        for _, _, _, minus_window_s, position in ranks
    ]
    policies = charges.policy_line.replace(b"%", b"%%")
    lines = b"%sRateLimit: %s\r\n" % (policies, b",".join(items))
    return Template(lines, tuple([rank[4] for rank in ranks]))


def refused_lines(charges: Charges, decision: Decision) -> bytes:
    """The lines for a refused call: nothing is left of what refuses, and its window is when that ends."""
    told = [0 if wait else left for left, wait in zip(decision.left, decision.wait_ms, strict=True)]
    return _lines(charges, decision, decision.left, told)


def beyond_line(quotas: Iterable[str]) -> bytes:
    """Marks a call that goes beyond these quotas, which let it pass."""
    return b"Tollway-Beyond-Quota: %s\r\n" % ", ".join(quotas).encode()


def whole_seconds(duration_ms: int) -> int:
    """Rounded up, so that whoever waits this long has waited long enough."""
    return -(-duration_ms // 1000)


def _available(charges: Charges, decision: Decision, calls: int) -> tuple[int, ...]:
    if not calls:
        return decision.left
    return tuple([left + calls * cost for left, cost in zip(decision.left, charges.costs, strict=True)])


def _lines(charges: Charges, decision: Decision, available: tuple[int, ...], told: Sequence[int]) -> bytes:
    """`told` is what callers are shown as left; order and windows go by what is `available`."""
    if charges.fields is LimitFields.OFF or not charges.shown:
        return b""
    ranks = _ranked(charges, decision, available)
    if charges.fields is LimitFields.LEGACY:
        first = ranks[0][4]
        reset_s = _reset_s(charges, decision, available, first)
        return LEGACY % (charges.sizes[first], b"%d" % max(0, told[first]), reset_s)
    values: list[int] = []
    for _, _, _, minus_window_s, position in ranks:
        left = told[position]
        values += (left if left > 0 else 0, -minus_window_s)  # noqa: FURB136  a call less
    order = tuple([rank[4] for rank in ranks])
    return (charges.forms.get(order) or _form(charges, order)) % tuple(values)


def _form(charges: Charges, order: tuple[int, ...]) -> bytes:
    """The lines of the draft with these charges in this order, without their numbers. Remembered."""
    items = [b'"%s";r=%%d;t=%%d' % charges.names[one].encode() for one in order]
    policies = charges.policy_line.replace(b"%", b"%%")
    if len(charges.forms) >= FORMS_MAX:
        charges.forms.clear()
    form = charges.forms[order] = b"%sRateLimit: %s\r\n" % (policies, b",".join(items))
    return form


def _ranked(charges: Charges, decision: Decision, available: tuple[int, ...]) -> list[Rank]:
    """The tightest first: what refuses for longest, then what fits fewest further calls, then the longest
    window; what refuses nobody comes last.

    A bucket's window is the time its tokens take to flow in, at least a second; a quota's is what is left of
    its period.
    """
    ranks: list[Rank] = []
    waits_ms, now_ms = decision.wait_ms, decision.now_ms
    for one, lenient, cost, period_ms, of_ms in charges.windows:
        wait_ms, left = waits_ms[one], available[one]
        if wait_ms:
            minus_window_s = -wait_ms // 1000
        elif period_ms:
            minus_window_s = -(left if left > 1 else 1) * period_ms // of_ms  # noqa: FURB136  as above
        else:
            minus_window_s = (now_ms - of_ms) // 1000
        ranks.append((lenient, -wait_ms, left // cost, minus_window_s, one))
    if len(ranks) > 1:
        ranks.sort()
    return ranks


def _reset_s(charges: Charges, decision: Decision, available: tuple[int, ...], position: int) -> int:
    """Until all of it is there again. A call that is refused may have to wait longer for others' holds."""
    if position >= len(charges.flows):
        return whole_seconds(
            charges.quotas[position - len(charges.flows)].span.end_s * 1000 - decision.now_ms
        )
    flow = charges.flows[position]
    missing = flow.burst - max(0, available[position])
    full_s = -(-missing * flow.period_ms // (flow.tokens * 1000))
    return max(full_s, whole_seconds(decision.wait_ms[position]))

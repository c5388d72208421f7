"""What answers tell callers about their limits, in the dialect the policies choose; the tightest first.

The RateLimit field (draft-ietf-httpapi-ratelimit-headers-11): `r` is available, `t` the effective window. A
token bucket has no reset; its window is the time `r` tokens take to flow in, so that `r`/`t` stays near the
true rate. A quota's window ends with its period.

The legacy fields know one limit, the tightest. `Reset` is in seconds from now: until the bucket is full or
the period ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.admission.charges import Charges
from gateway.admission.store import Decision
from gateway.admission.token_bucket import Flow
from gateway.model.policies import LimitFields

LEGACY = b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %s\r\nX-RateLimit-Reset: %d\r\n"


class Template(NamedTuple):
    """Complete lines with a `%d` for what is left of each of the charges at these positions."""

    lines: bytes
    shown: tuple[int, ...]


def granted_lines(charges: Charges, decision: Decision) -> bytes:
    """The lines for an admitted call. Calls bought ahead with it are still available."""
    available = _available(charges, decision, decision.extra)
    return _filled(_template(charges, decision, available), available)


def leased_lines(charges: Charges, decision: Decision, calls: int) -> Template:
    """The lines for the calls of a lease that has `calls` of them.

    Windows and order are those of the purchase: half a second later they are as good, and cost nothing.
    """
    return _template(charges, decision, _available(charges, decision, calls))


def refused_lines(charges: Charges, decision: Decision) -> bytes:
    """The lines for a refused call: nothing is left of what refuses, and its window is when that ends."""
    return _filled(
        _template(charges, decision, decision.left),
        [0 if wait else left for left, wait in zip(decision.left, decision.wait_ms, strict=True)],
    )


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


def _filled(template: Template, available: tuple[int, ...] | list[int]) -> bytes:
    return template.lines % tuple([max(0, available[position]) for position in template.shown])


def _template(charges: Charges, decision: Decision, available: tuple[int, ...]) -> Template:
    if charges.fields is LimitFields.OFF or not charges.shown:
        return Template(b"", ())
    windows = _windows_s(charges, decision, available)
    order = _tightest_first(charges, decision, available, windows)
    if charges.fields is LimitFields.LEGACY:
        first = order[0]
        reset_s = _reset_s(charges, decision, available, first)
        return Template(LEGACY % (charges.sizes[first], b"%d", reset_s), (first,))
    items = [b'"%s";r=%%d;t=%d' % (charges.names[one].encode(), windows[one]) for one in order]
    policies = charges.policy_line.replace(b"%", b"%%")
    return Template(b"%sRateLimit: %s\r\n" % (policies, b",".join(items)), tuple(order))


def _tightest_first(
    charges: Charges, decision: Decision, available: tuple[int, ...], windows: list[int]
) -> list[int]:
    """Positions: what refuses for longest, then what fits fewest further calls, then the longest window; what
    refuses nobody comes last.
    """

    def tightness(one: int) -> tuple[bool, int, int, int]:
        calls = available[one] // max(1, charges.costs[one])
        return charges.lenient[one], -decision.wait_ms[one], calls, -windows[one]

    order = list(charges.shown)
    if len(order) > 1:
        order.sort(key=tightness)
    return order


def _windows_s(charges: Charges, decision: Decision, available: tuple[int, ...]) -> list[int]:
    windows = [_window_s(flow, left) for flow, left in zip(charges.flows, available, strict=False)]
    windows += [whole_seconds(charge.span.end_s * 1000 - decision.now_ms) for charge in charges.quotas]
    return [
        whole_seconds(wait) if wait else window
        for window, wait in zip(windows, decision.wait_ms, strict=True)
    ]


def _window_s(flow: Flow, tokens: int) -> int:
    """How long `tokens` take to flow in, at least a second."""
    return max(1, -(-max(1, tokens) * flow.period_ms // (flow.tokens * 1000)))


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

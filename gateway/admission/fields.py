"""The RateLimit field (draft-ietf-httpapi-ratelimit-headers-11): `r` is available, `t` the effective window.

A token bucket has no reset; its window is the time `r` tokens take to flow in, so that `r`/`t` stays near the
true rate. A quota's window ends with its period.
"""

from __future__ import annotations

from gateway.admission.charges import Charges
from gateway.admission.store import Decision
from gateway.admission.token_bucket import Flow


def granted_lines(charges: Charges, decision: Decision) -> bytes:
    """Both lines for an admitted call. Calls bought ahead with it are still available."""
    available = _available(charges, decision, decision.extra)
    figures: list[int] = []
    for left, window in zip(available, _windows_s(charges, decision, available), strict=True):
        figures += (max(0, left), window)
    return charges.policy_line + charges.line % tuple(figures)


def leased_lines(charges: Charges, decision: Decision, calls: int) -> bytes:
    """Both lines with a place for each `r`, for the calls of a lease that has `calls` of them.

    Windows are those of the purchase: half a second later they are as good, and cost nothing.
    """
    available = _available(charges, decision, calls)
    line = charges.line.replace(b"r=%d", b"r=%%d") % tuple(_windows_s(charges, decision, available))
    return charges.policy_line.replace(b"%", b"%%") + line


def refused_lines(charges: Charges, decision: Decision) -> bytes:
    """Both lines for a refused call: `r` is 0 for what refuses, and `t` is when that ends."""
    figures: list[int] = []
    windows = _windows_s(charges, decision, decision.left)
    for left, wait, window in zip(decision.left, decision.wait_ms, windows, strict=True):
        figures += (0, whole_seconds(wait)) if wait else (max(0, left), window)
    return charges.policy_line + charges.line % tuple(figures)


def whole_seconds(duration_ms: int) -> int:
    """Rounded up, so that whoever waits this long has waited long enough."""
    return -(-duration_ms // 1000)


def _available(charges: Charges, decision: Decision, calls: int) -> tuple[int, ...]:
    if not calls:
        return decision.left
    return tuple([left + calls * cost for left, cost in zip(decision.left, charges.costs, strict=True)])


def _windows_s(charges: Charges, decision: Decision, available: tuple[int, ...]) -> list[int]:
    windows = [_window_s(flow, left) for flow, left in zip(charges.flows, available, strict=False)]
    return windows + [whole_seconds(charge.span.end_s * 1000 - decision.now_ms) for charge in charges.quotas]


def _window_s(flow: Flow, tokens: int) -> int:
    return max(1, -(-max(1, tokens) * flow.period_ms // (flow.tokens * 1000)))

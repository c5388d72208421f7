"""Which meters there are and what they can be used for."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.problems import meant, quoted

BUILT_IN_METERS: Mapping[str, str] = {
    "api_calls": "call",
    "ingress_bytes": "byte",
    "egress_bytes": "byte",
    "duration_ms": "millisecond",
    "messages": "message",
}
"""Counted for every call without a declaration, with what one unit is called."""

COUNTABLE = "api_calls"
"""The built-in meter whose cost is known before the call; the others are measured while it runs."""


def cost_problem(meter: str, declared: Mapping[str, object], *, whole: bool = True) -> str | None:
    """Why a meter can have neither quotas nor a fixed cost; None when it can.

    Not `whole`: the meters are not all known, so one that is missing is none of our business.
    """
    if meter in BUILT_IN_METERS and meter != COUNTABLE:
        return (
            f"{quoted(meter)} is measured while a call runs; for now only {COUNTABLE} and declared meters "
            "can have quotas or a fixed cost"
        )
    if meter == COUNTABLE or meter in declared or not whole:
        return None
    return (
        f"there is no meter {quoted(meter)}; declare it under `meters`.{meant(meter, [COUNTABLE, *declared])}"
    )

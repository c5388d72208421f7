from __future__ import annotations

import pytest

from gateway.policy.meters import cost_problem


@pytest.mark.parametrize(
    ("case", "meter", "whole", "problem"),
    [
        ("calls", "api_calls", True, None),
        ("a declared meter", "tokens", True, None),
        ("bytes are known only later", "egress_bytes", True, "for now only api_calls and declared meters"),
        ("even if somebody declares them", "duration_ms", True, "for now only api_calls and declared meters"),
        ("a slip", "token", True, "Did you mean `tokens`?"),
        ("a name that may be in a broken file", "token", False, None),
    ],
)
def test_what_can_have_a_fixed_cost(case: str, meter: str, whole: bool, problem: str | None) -> None:
    found = cost_problem(meter, {"tokens": None, "duration_ms": None}, whole=whole)
    assert (found is None) if problem is None else problem in (found or "")

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.metering.charges import planned_charges
from gateway.model.periods import Period
from gateway.model.policies import (
    AdmissionMode,
    ChargePlan,
    OnStoreLoss,
    Quota,
    Route,
    Tier,
    Upstream,
)

TIER = Tier("team", "Team", None, (), (), frozenset())


def a_route(charges: dict[str, int]) -> Route:
    return Route("r", "/**", frozenset(), frozenset(), Upstream("u", ()), frozenset(), charges)


def a_plan(*quotas: tuple[str, Period, int]) -> ChargePlan:
    costs = tuple((Quota(f"{meter}-{per.text}", meter, 100, per), cost) for meter, per, cost in quotas)
    return ChargePlan("p", TIER, (), costs, AdmissionMode.AUTO, OnStoreLoss.REFUSE, None)


@pytest.mark.parametrize(
    ("case", "plan", "route", "charges"),
    [
        ("nothing known", None, None, {}),
        (
            "what the route declares",
            None,
            a_route({"api_calls": 1, "tokens": 5}),
            {"api_calls": 1, "tokens": 5},
        ),
        (
            "two quotas on one meter count the same units",
            a_plan(("api_calls", Period.DAY, 3), ("api_calls", Period.MONTH, 3)),
            a_route({"api_calls": 3}),
            {"api_calls": 3},
        ),
        (
            "a quota the route does not mention",
            a_plan(("builds", Period.MONTH, 2)),
            a_route({"api_calls": 1}),
            {"api_calls": 1, "builds": 2},
        ),
    ],
)
def test_a_call_is_charged_by_route_and_plan(
    case: str, plan: ChargePlan | None, route: Route | None, charges: dict[str, int]
) -> None:
    assert planned_charges(plan, route) == charges


def test_what_differs_from_call_to_call_is_charged_as_this_one_costs() -> None:
    plan = replace(a_plan(("api_calls", Period.DAY, 3)), units={"api_calls": 3, "tokens": 7})
    assert planned_charges(plan, a_route({"builds": 1})) == {"api_calls": 3, "builds": 1, "tokens": 7}

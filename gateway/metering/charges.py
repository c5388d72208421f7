"""What a call pays into meters if it turns out to be billable."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model.policies import ChargePlan, Route


def planned_charges(plan: ChargePlan | None, route: Route | None) -> Mapping[str, int]:
    """Meter -> units: what the route declares, by method and size too, and what quotas were charged.

    Two quotas on one meter (a day's and a month's) count the same units, so they are not added up.
    """
    charges = dict(route.charges) if route is not None else {}
    if plan is not None:
        charges |= plan.units
        charges |= {quota.meter: cost for quota, cost in plan.quotas}
    return charges

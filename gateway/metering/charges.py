"""What a call pays into meters if it turns out to be billable."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model.policies import ChargePlan, Route


def planned_charges(plan: ChargePlan | None, route: Route | None) -> Mapping[str, int]:
    """Meter -> units: what the route declares, by method and size too, and what quotas were charged.

    Two quotas on one meter (a day's and a month's) count the same units, so they are not added up. Those that
    stay due if the worker dies come first.
    """
    charges = dict(route.charges) if route is not None else {}
    if plan is not None:
        charges |= plan.units
        charges |= {quota.meter: cost for quota, cost in plan.quotas}
    billing = route.billing if route is not None else None
    if billing is not None:
        return dict(sorted(charges.items(), key=lambda charge: not billing.due_if_interrupted(charge[0])))
    return charges


def kept_charges(planned: Mapping[str, int], route: Route | None) -> int:
    """How many of the planned charges are due even if the worker dies within the call: the first ones."""
    if route is None or route.billing is None:
        return 0
    return sum(map(route.billing.due_if_interrupted, planned))


def marks_beyond(beyond: Mapping[str, int]) -> Mapping[str, int]:
    """Units beyond quotas as meters of their own, `beyond:<quota>`: no declared meter is called so."""
    return {f"beyond:{quota}": units for quota, units in beyond.items()}

"""How far a key is to reach, against the policies."""

from __future__ import annotations

from gateway.accounts.records import KeyLimits
from gateway.errors import Invalid
from gateway.model.policies import PolicySet


def check_reach(limits: KeyLimits, policies: PolicySet) -> None:
    """Invalid for routes and scopes that the policies do not have: a key with them could do nothing."""
    known = {route.name for route in policies.routes}
    if unknown := set(limits.only_routes) - known:
        raise Invalid("only_routes", f"has {len(unknown)} that the policies in use do not have")
    asked_for = {scope for route in policies.routes for scope in route.access.scopes}
    if unknown := set(limits.scopes or ()) - asked_for:
        raise Invalid("scopes", f"has {len(unknown)} that no route of the policies in use requires")

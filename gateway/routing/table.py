"""One snapshot of the policies, ready to decide calls."""

from __future__ import annotations

from typing import NamedTuple

from gateway.errors import FeatureRequired, LengthRequired, NoRoute, TierUnknown
from gateway.model.enforcement import POLICIES_ALONE, Enforcement
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.own_answer import OwnAnswer
from gateway.model.policies import ChargePlan, PolicySet, Route, Tier
from gateway.model.principal import Principal
from gateway.routing.loosening import loosened
from gateway.routing.matching import PathIndex
from gateway.routing.plans import Plans, Upgrades
from gateway.routing.rollout import Rollout
from gateway.routing.splits import Splits
from gateway.routing.terms import with_overrides

MOST_REMEMBERED = 4096
LONGEST_REMEMBERED = 256
"""Bounds what strangers can make us remember: about two megabytes of paths per snapshot."""

_ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


class _Parts(NamedTuple):
    """What a snapshot is worked out into, whatever operators switch."""

    paths: PathIndex
    matched: dict[tuple[str, str, str], Route | None]
    upgrades: Upgrades
    plans: Plans
    splits: Splits
    rollout: Rollout


def _work_out(policies: PolicySet, portal_url: str) -> _Parts:
    upgrades = Upgrades(policies, portal_url)
    plans = Plans(policies, upgrades)
    return _Parts(PathIndex(policies.routes), {}, upgrades, plans, Splits(), Rollout(policies.tiers.values()))


class RoutingTable:
    """Matches heads to routes and says what a call costs. Made once per snapshot; used by one event loop."""

    def __init__(
        self,
        policies: PolicySet,
        *,
        portal_url: str,
        enforcement: Enforcement = POLICIES_ALONE,
        parts: _Parts | None = None,
    ) -> None:
        """`parts`: of a table of the same policies."""
        self.policies, self.enforcement = policies, enforcement
        self._portal_url = portal_url
        self._parts = parts = parts or _work_out(policies, portal_url)
        self._index, self._matched, self._upgrades, self._plans, self._splits, self._rollout = parts
        self._has_cors = any(route.cors is not None for route in policies.routes)
        self._known: dict[str, dict[str, ChargePlan]] = {}  # by terms, then route

    def under(self, enforcement: Enforcement) -> RoutingTable:
        """The same snapshot with what operators switched."""
        return RoutingTable(
            self.policies, portal_url=self._portal_url, enforcement=enforcement, parts=self._parts
        )

    def match(self, head: RequestHead) -> Route:
        """The first route in file order that matches method, host and canonical path.

        Raises `NoRoute`; `OwnAnswer` for what is no call on any route, a preflight or `OPTIONS *`.
        """
        key = (head.method, head.host, head.path)
        try:
            route = self._matched[key]
        except KeyError:
            route = self._find(key) if head.method != "OPTIONS" else self._find_for_options(head, key)
        if route is None:
            raise NoRoute
        return route

    def considered(self, head: RequestHead) -> list[tuple[Route, str]]:
        """Every route whose path fits a call, in file order, and why it is not taken; empty for the one."""
        return self._index.considered(head.method, head.host.removesuffix("."), head.path)

    def _find(self, key: tuple[str, str, str]) -> Route | None:
        method, host, path = key
        route = self._index.find(method, host.removesuffix("."), path)
        if len(path) + len(host) <= LONGEST_REMEMBERED:
            if len(self._matched) >= MOST_REMEMBERED:
                self._matched.clear()  # rarer and cheaper than keeping track of what was used last
            self._matched[key] = route
        return route

    def _find_for_options(self, head: RequestHead, key: tuple[str, str, str]) -> Route | None:
        """A preflight is about a call with another method, so that one's route decides.

        Where it has no CORS, OPTIONS is a method like any other.
        """
        _, host, path = key
        if path == "*":
            raise OwnAnswer(_ALLOW)
        if not self._has_cors:
            return self._find(key)
        origin, method = head.field(b"origin"), head.field(b"access-control-request-method")
        if origin is not None and method is not None:
            route = self._index.find(method.decode("latin-1"), host.removesuffix("."), path)
            if route is not None and route.cors is not None:
                asked = head.field(b"access-control-request-headers")
                raise OwnAnswer(route.cors.of_preflight(origin, asked), route)
        return self._index.find("OPTIONS", host.removesuffix("."), path)

    def charges(self, exchange: Exchange) -> ChargePlan:
        """What the call pays; noted on the exchange, as is its side when the route has several.

        Raises `TierUnknown`, `FeatureRequired`, and `LengthRequired` where size matters and is not told.
        """
        principal, route = exchange.principal, exchange.route
        assert principal is not None, "authenticated before it is charged"
        assert route is not None, "routed before it is charged"
        terms = principal.terms
        if self._rollout:
            terms = self._rollout.terms(principal)
        known = self._known.get(terms)
        if known is None:
            known = self._first_of(principal, terms)
        plan = known.get(route.name)
        if plan is None:
            tier = self.policies.tiers[principal.tier]
            if principal.overrides:
                tier = with_overrides(tier, principal.overrides)
            if self._rollout:
                tier = self._rollout.tier(tier, principal.account)
            if self.enforcement:
                tier = loosened(tier, route.name, self.enforcement)
            plan = self._plan(tier, route, exchange.head)
            if not route.varies:
                known[route.name] = plan
        exchange.charges = plan
        if route.split:
            exchange.route = self._splits.side(route, principal.account, exchange.request_id)
        return plan

    def _first_of(self, principal: Principal, terms: str) -> dict[str, ChargePlan]:
        """A place for the plans of this tier with these overrides, emptied when there are too many."""
        if principal.tier not in self.policies.tiers:
            raise TierUnknown(
                internal=f"account {principal.account} has tier {principal.tier!r}, not in the policies"
            )
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        return self._known.setdefault(terms, {})

    def _plan(self, tier: Tier, route: Route, head: RequestHead) -> ChargePlan:
        if not route.requires <= tier.features:
            raise self._feature_required(tier, route)
        if head.chunked and any(cost.per_kib for cost in (route.cost, *route.varying.values())):
            raise LengthRequired
        return self._plans.plan(tier, route, head.method, head.content_length or 0)

    def _feature_required(self, tier: Tier, route: Route) -> FeatureRequired:
        missing = ", ".join(f"`{feature}`" for feature in sorted(route.requires - tier.features))
        extensions: dict[str, object] = {"required": sorted(route.requires), "tier": tier.name}
        upgrade_url = self._upgrades.with_features(tier, route.requires)
        if upgrade_url:
            extensions["upgrade_url"] = upgrade_url
        return FeatureRequired(f"Your tier does not include {missing}.", extensions=extensions)

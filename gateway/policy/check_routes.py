"""Routes that lead nowhere, can never match or could never let a call pass."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.documents import MatchDocument, RouteDocument
from gateway.policy.extends import FullTier
from gateway.policy.merge import Entry, Merged
from gateway.policy.meters import cost_problem
from gateway.policy.problems import Problems, meant, quoted

GoodRoute = tuple[Entry[RouteDocument], RouteDocument]


def check_routes(merged: Merged, tiers: Mapping[str, FullTier], problems: Problems) -> None:
    """Note every problem of routes among themselves and with what they name."""
    routes = [(entry, entry.document) for entry in merged.routes if entry.document is not None]
    whole_routes = [(entry, route) for entry, route in routes if not entry.partial]
    _check_names(routes, problems)
    _check_reach(whole_routes, problems)
    broken_tier = len(tiers) < len(merged.tiers) or any(entry.partial for entry in merged.tiers.values())
    features = frozenset[str]().union(*(tier.features for tier in tiers.values()))
    for entry, route in routes:
        _check_upstream(entry, route, merged, problems)
        if merged.whole and not broken_tier:
            _check_features(entry, route, features, problems)
        for meter, cost in route.charges.items():
            message = cost_problem(meter, merged.meters, whole=merged.whole)
            message = message or _too_dear(route, meter, cost, tiers)
            if message:
                problems.add(entry.problem(message, "charges", meter))


def _check_names(routes: list[GoodRoute], problems: Problems) -> None:
    first: dict[str, Entry[RouteDocument]] = {}
    for entry, route in routes:
        before = first.setdefault(route.name, entry)
        if before is not entry:
            message = f"{quoted(route.name)} is already the name of the route at {before.place}; rename one"
            problems.add(entry.problem(message, "name"))


def _check_upstream(
    entry: Entry[RouteDocument], route: RouteDocument, merged: Merged, problems: Problems
) -> None:
    if not merged.may_have("upstreams", route.upstream):
        message = f"there is no upstream {quoted(route.upstream)}.{meant(route.upstream, merged.upstreams)}"
        problems.add(entry.problem(message, "upstream"))


def _check_features(
    entry: Entry[RouteDocument], route: RouteDocument, features: frozenset[str], problems: Problems
) -> None:
    for position, feature in enumerate(route.requires):
        if feature not in features:
            message = (
                f"no tier has the feature {quoted(feature)}, so no call could pass; "
                f"add it to the features of a tier.{meant(feature, features)}"
            )
            problems.add(entry.problem(message, "requires", position))


def _too_dear(route: RouteDocument, meter: str, cost: int, tiers: Mapping[str, FullTier]) -> str | None:
    """Tiers that may use the route, yet could never pay for a single call."""
    for name, tier in tiers.items():
        if not tier.features.issuperset(route.requires):
            continue
        for quota in tier.quotas.values():
            if quota.meter == meter and cost > quota.amount:
                return (
                    f"one call costs {cost}, more than the {quota.amount} per {quota.per} of tier "
                    f"{quoted(name)}, so no call of that tier could pass; lower the cost, raise the amount "
                    "or require a feature that the tier lacks"
                )
    return None


def _check_reach(routes: list[GoodRoute], problems: Problems) -> None:
    """An earlier route that matches everything a later one does leaves it without calls."""
    matchers = [_Reach(route.match) for _, route in routes]
    for later, (entry, _) in enumerate(routes):
        for earlier in range(later):
            if matchers[earlier].covers(matchers[later]):
                before, first = routes[earlier]
                message = (
                    f"is never reached: the earlier route {quoted(first.name)} at {before.place} matches all "
                    "of it; move this route above that one, or narrow that one"
                )
                problems.add(entry.problem(message, "match"))
                break
        if problems.full:
            return


class _Reach:
    """The calls a route matches, comparable."""

    __slots__ = ("below", "hosts", "methods", "segments")

    def __init__(self, match: MatchDocument) -> None:
        segments = [segment for segment in match.path.split("/") if segment]
        self.below = segments[-1:] == ["**"]
        self.segments = segments[:-1] if self.below else segments
        self.hosts = frozenset(match.hosts or ())
        methods = set(match.methods or ())
        self.methods = frozenset(methods | {"HEAD"} if "GET" in methods else methods)

    def covers(self, other: _Reach) -> bool:
        """Whether every call the other matches is matched here."""
        return (
            self._covers_path(other)
            and _at_least(self.methods, other.methods)
            and _at_least(self.hosts, other.hosts)
        )

    def _covers_path(self, other: _Reach) -> bool:
        mine, theirs = self.segments, other.segments
        if len(theirs) < len(mine):
            return False
        if not self.below and (other.below or len(theirs) > len(mine)):
            return False
        return all(here in ("*", there) for here, there in zip(mine, theirs, strict=False))


def _at_least(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether one choice holds another; an empty choice stands for everything."""
    return not mine or (bool(theirs) and mine >= theirs)

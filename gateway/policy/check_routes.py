"""Routes that lead nowhere, can never match or could never let a call pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.policy.billing_documents import ChargeDocument
from gateway.policy.check_access import check_access_of_route
from gateway.policy.check_addresses import check_addresses
from gateway.policy.check_changes import check_beside_cors, check_headers, check_rewrite
from gateway.policy.check_charges import check_charges
from gateway.policy.check_cors import check_cors_of_route
from gateway.policy.cost_documents import CostDocument
from gateway.policy.documents import LimitDocument, MatchDocument, RouteDocument
from gateway.policy.extends import FullTier
from gateway.policy.merge import Entry, Merged
from gateway.policy.meters import cost_problem
from gateway.policy.problems import Problems, meant, quoted
from gateway.policy.texts import segments_of

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
        _check_upstreams(entry, route, merged, problems)
        check_rewrite(entry, route, problems)
        check_headers(entry, route, problems)
        check_beside_cors(entry, route, problems)
        check_cors_of_route(entry, route, merged, problems)
        check_addresses(entry, route, problems)
        check_charges(entry, route, problems)
        check_access_of_route(entry, route, merged, tiers, problems)
        if merged.whole and not broken_tier:
            _check_features(entry, route, features, problems)
        for meter, cost in route.charges.items():
            message = cost_problem(meter, merged.meters, whole=merged.whole)
            message = message or _too_dear(route, meter, cost, tiers)
            if message:
                problems.add(entry.problem(message, "charges", meter))
        for message, *keys in _never_fits(route, tiers):
            problems.add(entry.problem(message, *keys))


def _check_names(routes: list[GoodRoute], problems: Problems) -> None:
    first: dict[str, Entry[RouteDocument]] = {}
    for entry, route in routes:
        before = first.setdefault(route.name, entry)
        if before is not entry:
            message = f"{quoted(route.name)} is already the name of the route at {before.place}; rename one"
            problems.add(entry.problem(message, "name"))


def _check_upstreams(
    entry: Entry[RouteDocument], route: RouteDocument, merged: Merged, problems: Problems
) -> None:
    named: list[tuple[str, tuple[str | int, ...]]] = []
    if route.upstream is not None:
        named.append((route.upstream, ("upstream",)))
    for position, side in enumerate(route.split or ()):
        if side.upstream in [before for before, _ in named]:
            message = f"{quoted(side.upstream)} has a part of these calls already; remove one"
            problems.add(entry.problem(message, "split", position, "upstream"))
        named.append((side.upstream, ("split", position, "upstream")))
    for name, keys in named:
        if not merged.may_have("upstreams", name):
            message = f"there is no upstream {quoted(name)}.{meant(name, merged.upstreams)}"
            problems.add(entry.problem(message, *keys))
    if not entry.partial:
        _check_choice(entry, route, problems)


def _check_choice(entry: Entry[RouteDocument], route: RouteDocument, problems: Problems) -> None:
    if route.upstream is None and route.split is None:
        message = "is required; add it, for example `upstream: projects`, or `split` for several"
        problems.add(entry.problem(message, "upstream"))
    elif route.upstream is not None and route.split is not None:
        problems.add(entry.problem("stands beside `upstream`; remove one of the two", "split"))
    elif route.split is not None and not any(side.weight for side in route.split):
        problems.add(entry.problem("gives no side any calls; give one a weight above 0", "split"))


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


def _too_dear(
    route: RouteDocument, meter: str, cost: CostDocument, tiers: Mapping[str, FullTier]
) -> str | None:
    """Tiers that may use the route, yet could never pay for a single call."""
    for name, tier in tiers.items():
        if not tier.features.issuperset(route.requires):
            continue
        for quota in tier.quotas.values():
            for call, units in _prices(cost):
                if quota.meter == meter and units > quota.amount:
                    return (
                        f"one {call} costs {units}, more than the {quota.amount} per {quota.per} of tier "
                        f"{quoted(name)}, so no {call} of that tier could pass; lower the cost, raise the "
                        "amount or require a feature that the tier lacks"
                    )
    return None


def _never_fits(route: RouteDocument, tiers: Mapping[str, FullTier]) -> Iterator[tuple[str, ...]]:
    """The first limit of tiers that may use the route whose bucket could never hold enough for one call."""
    for name, tier in tiers.items():
        if not tier.features.issuperset(route.requires):
            continue
        for limit in tier.limits.values():
            if limit.routes is not None and route.name not in limit.routes:
                continue
            for call, tokens in _tokens(route, limit):
                if tokens > limit.burst:
                    message = (
                        f"one {call} takes {tokens} tokens, more than the burst of {limit.burst} of "
                        f"{quoted(limit.name)} in tier {quoted(name)}, so no {call} of that tier could pass; "
                        "lower the cost, raise the burst or require a feature that the tier lacks"
                    )
                    yield (message, "cost") if limit.meter is None else (message, "charges", limit.meter)
                    return


def _tokens(route: RouteDocument, limit: LimitDocument) -> Iterator[tuple[str, int]]:
    """What calls without a body take from a limit."""
    if limit.meter is None:
        yield from _prices(route.cost)
    elif limit.meter in route.charges:
        yield from _prices(route.charges[limit.meter])


def _prices(cost: CostDocument) -> Iterator[tuple[str, int]]:
    """What calls without a body cost, as far as it is known before them."""
    if isinstance(cost, ChargeDocument) and cost.sources:
        yield "call", cost.reserve
        return
    yield "call", cost.units
    for method, units in cost.methods.items():
        yield f"{method} call", units


def _check_reach(routes: list[GoodRoute], problems: Problems) -> None:
    """An earlier route that matches everything a later one does leaves it without calls."""
    earlier = _Patterns()
    for entry, route in routes:
        for before, first in earlier.holding(route.match):
            if _takes_all(first.match, route.match):
                message = (
                    f"is never reached: the earlier route {quoted(first.name)} at {before.place} matches all "
                    "of it; move this route above that one, or narrow that one"
                )
                problems.add(entry.problem(message, "match"))
                break
        earlier.add(entry, route)


def _takes_all(first: MatchDocument, later: MatchDocument) -> bool:
    return _holds(_methods(first), _methods(later)) and _takes_hosts(first.hosts or (), later.hosts or ())


def _takes_hosts(mine: Sequence[str], theirs: Sequence[str]) -> bool:
    """Like `_holds`; `*.example.com` also holds what ends like it."""
    ends = tuple(host.removeprefix("*") for host in mine if host.startswith("*."))
    return not mine or (bool(theirs) and all(host in mine or host.endswith(ends) for host in theirs))


def _methods(match: MatchDocument) -> set[str]:
    methods = set(match.methods or ())
    return methods | {"HEAD"} if "GET" in methods else methods


def _holds(mine: set[str], theirs: set[str]) -> bool:
    """Whether one choice holds another; an empty choice stands for everything."""
    return not mine or (bool(theirs) and mine >= theirs)


class _Node:
    __slots__ = ("below", "ends", "segments")

    def __init__(self) -> None:
        self.segments: dict[str, _Node] = {}  # `*` among them
        self.ends: list[GoodRoute] = []
        self.below: list[GoodRoute] = []  # those that go on with `**`


class _Patterns:
    """A tree of path patterns, so that thousands of routes need no comparison of each with each."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, entry: Entry[RouteDocument], route: RouteDocument) -> None:
        segments, below = _segments(route.match)
        node = self._root
        for segment in segments:
            node = node.segments.setdefault(segment, _Node())
        (node.below if below else node.ends).append((entry, route))

    def holding(self, match: MatchDocument) -> list[GoodRoute]:
        """Routes whose pattern matches every path that this one matches."""
        segments, below = _segments(match)
        nodes, found = [self._root], []
        for segment in segments:
            found += [route for node in nodes for route in node.below]
            following = [node.segments.get(name) for node in nodes for name in dict.fromkeys((segment, "*"))]
            nodes = [node for node in following if node]
        found += [route for node in nodes for route in node.below]
        if not below:
            found += [route for node in nodes for route in node.ends]
        return found


def _segments(match: MatchDocument) -> tuple[list[str], bool]:
    """The segments of a pattern, a name in braces as `*`, and whether it goes on with `**`."""
    segments = ["*" if segment.startswith("{") else segment for segment in segments_of(match.path)]
    below = segments[-1:] == ["**"]
    return (segments[:-1] if below else segments), below

"""From a checked route document to what decides calls, with all that changes on the way worked out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from gateway.frames import MessageBounds
from gateway.model.access import Issuer
from gateway.model.billing import Billing
from gateway.model.changes import HeaderChange, PathChange, RequestChange, folded
from gateway.model.networks import AddressRules, Networks, parse_network
from gateway.model.policies import NO_LIMIT, Route, Side, Upstream
from gateway.policy.access_documents import AddressesDocument
from gateway.policy.change_documents import HeadersDocument, RewriteDocument
from gateway.policy.compile_access import compile_access
from gateway.policy.compile_cors import compile_cors
from gateway.policy.compile_limits import compile_cost
from gateway.policy.compile_upstreams import route_timeouts
from gateway.policy.cors_documents import CorsDocument
from gateway.policy.documents import RouteDocument
from gateway.policy.message_documents import MessageDocument
from gateway.policy.texts import segments_of, size_bytes, with_head
from gateway.policy.upstream_documents import UpstreamDocument

LEGACY_FIELDS = frozenset((b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"))


def compile_route(
    document: RouteDocument,
    upstreams: Mapping[str, Upstream],
    documents: Mapping[str, UpstreamDocument],
    profiles: Mapping[str, CorsDocument],
    issuers: Mapping[str, Issuer],
) -> Route:
    """The route; with several upstreams, one for each and all of them in its `split`."""

    cors = compile_cors(profiles[document.cors], document.match.methods) if document.cors else None

    access = compile_access(document.access, issuers, document.scopes)

    def towards(name: str) -> Route:
        return replace(_route(document, upstreams[name], documents[name]), cors=cors, access=access)

    if document.upstream is not None:
        return towards(document.upstream)
    sides = tuple(Side(side.weight, towards(side.upstream)) for side in document.split or () if side.weight)
    return replace(sides[0].route, split=sides if len(sides) > 1 else ())


def with_billing(route: Route, billing: Billing | None) -> Route:
    """The route whose calls are billed like that, whichever side they take."""
    split = tuple(Side(side.weight, with_billing(side.route, billing)) for side in route.split)
    return route if billing is None else replace(route, billing=billing, split=split)


def without_limit_fields(route: Route) -> Route:
    """The route without the upstream's own X-RateLimit fields: beside ours nobody could tell them apart."""
    change = route.response_headers or HeaderChange(frozenset(), b"")
    change = replace(change, dropped=change.dropped | LEGACY_FIELDS)
    split = tuple(Side(side.weight, without_limit_fields(side.route)) for side in route.split)
    return replace(route, response_headers=change, split=split)


def _route(document: RouteDocument, upstream: Upstream, its: UpstreamDocument) -> Route:
    costs = {meter: compile_cost(cost) for meter, cost in document.charges.items()}
    return Route(
        name=document.name,
        path=document.match.path,
        methods=frozenset(with_head(document.match.methods or ())),
        hosts=frozenset(document.match.hosts or ()),
        upstream=upstream,
        requires=frozenset(document.requires),
        charges=MappingProxyType({meter: cost.units for meter, cost in costs.items() if not cost.varies}),
        varying=MappingProxyType({meter: cost for meter, cost in costs.items() if cost.varies}),
        cost=compile_cost(document.cost),
        forward_credentials=document.forward_credentials,
        timeouts=route_timeouts(document.timeouts, upstream.timeouts),
        request_change=_request_change(document, its),
        max_body_bytes=_most_bytes(document.max_body),
        max_message=_message_bounds(document.max_message),
        min_bytes_per_s=document.timeouts.min_bytes_per_s if document.timeouts is not None else None,
        response_headers=_both(its.response_headers, document.response_headers),
        addresses=_addresses(document.addresses),
        raw=document.raw,
    )


def _addresses(document: AddressesDocument | None) -> AddressRules | None:
    if document is None:
        return None
    allow = None if document.allow is None else Networks(map(parse_network, document.allow))
    return AddressRules(allow, Networks(map(parse_network, document.deny or ())))


def _most_bytes(size: str | None) -> int | None:
    if size is None:
        return None
    most = size_bytes(size)
    return NO_LIMIT if most is None else most


def _message_bounds(document: MessageDocument | None) -> MessageBounds | None:
    if document is None:
        return None
    return MessageBounds(size_bytes(document.ingress), size_bytes(document.egress))


def _request_change(document: RouteDocument, its: UpstreamDocument) -> RequestChange | None:
    headers = _both(its.request_headers, document.request_headers)
    rewrite = document.rewrite
    if rewrite is None:
        return RequestChange(None, headers) if headers is not None else None
    if rewrite.forwarded_prefix:
        line = f"X-Forwarded-Prefix: {rewrite.strip_prefix}\r\n".encode()
        headers = headers or HeaderChange(frozenset(), b"")
        headers = replace(headers, added=headers.added + line)
    return RequestChange(path_change(document.match.path, rewrite), headers)


def path_change(pattern: str, rewrite: RewriteDocument) -> PathChange:
    """What becomes of paths that a pattern matches."""
    given = segments_of(pattern)
    if rewrite.path is None:
        stripped = len(segments_of(rewrite.strip_prefix or "/"))
        return PathChange(tuple(segments_of(rewrite.add_prefix or "/")), stripped + 1)
    below = given[-1:] == ["**"]
    wanted = segments_of(rewrite.path)
    if wanted[-1:] == ["**"]:
        wanted, rest = wanted[:-1], len(given)
    else:
        # Behind a path that is matched whole there is at most the slash at its end; that of the root is none.
        rest = 0 if below or not given else len(given) + 1
    start = tuple(given.index(segment) + 1 if segment.startswith("{") else segment for segment in wanted)
    return PathChange(start, rest or None)


def _both(upstream: HeadersDocument | None, route: HeadersDocument | None) -> HeaderChange | None:
    """The upstream's rules and then the route's, so where the two disagree the route's decide."""
    first, then = _header_change(upstream), _header_change(route)
    if first is None or then is None:
        return first or then
    added = b"".join(then.apply([first.added]))
    return HeaderChange(first.dropped | then.dropped, added)


def _header_change(document: HeadersDocument | None) -> HeaderChange | None:
    if document is None:
        return None
    lines = [
        f"{name}: {value}\r\n" for rules in (document.set, document.add) for name, value in rules.items()
    ]
    dropped = frozenset(folded(name.encode()) for name in (*document.set, *document.remove))
    return HeaderChange(dropped, "".join(lines).encode())

"""From checked documents to the immutable snapshot that calls are decided by."""

from __future__ import annotations

from types import MappingProxyType

from gateway.model.policies import (
    NO_LIMIT,
    AdmissionMode,
    Limit,
    Meter,
    OnStoreLoss,
    Period,
    PolicySet,
    Price,
    Quota,
    Route,
    Tier,
    Upstream,
)
from gateway.policy.compile_cors import compile_cors
from gateway.policy.compile_upstreams import compile_upstream, route_timeouts
from gateway.policy.cors_documents import CorsDocument
from gateway.policy.documents import AdmissionDocument, RouteDocument, TierDocument
from gateway.policy.extends import FullTier, full_tiers
from gateway.policy.merge import Merged
from gateway.policy.meters import BUILT_IN_METERS
from gateway.policy.texts import rate_parts, size_bytes, with_head


def compile_policies(merged: Merged, digest: str) -> PolicySet:
    """The snapshot of a folder in which `check` found nothing."""
    upstreams = {name: compile_upstream(name, document) for name, document in merged.good_upstreams().items()}
    meters = dict(BUILT_IN_METERS) | {name: meter.unit for name, meter in merged.good_meters().items()}
    profiles = merged.good_cors()
    documents = merged.good_tiers()
    tiers = {name: _tier(name, documents[name], full) for name, full in full_tiers(documents).items()}
    routes = [_route(entry.document, upstreams, profiles) for entry in merged.routes if entry.document]
    admission = (merged.admission and merged.admission.document) or AdmissionDocument()
    return PolicySet(
        digest=digest,
        upstreams=MappingProxyType(upstreams),
        meters=MappingProxyType({name: Meter(name, unit) for name, unit in meters.items()}),
        tiers=MappingProxyType(tiers),
        routes=tuple(routes),
        upgrade_url=merged.upgrade_url.document if merged.upgrade_url else None,
        admission_mode=AdmissionMode(admission.mode),
        on_store_loss=OnStoreLoss(admission.on_store_loss),
    )


def _tier(name: str, document: TierDocument, full: FullTier) -> Tier:
    price = document.price
    return Tier(
        name=name,
        title=document.title or name,
        price=Price(price.amount, price.currency, price.per) if price else None,
        limits=tuple(Limit(key, *rate_parts(limit.rate), limit.burst) for key, limit in full.limits.items()),
        quotas=tuple(
            Quota(key, quota.meter, quota.amount, Period(quota.per)) for key, quota in full.quotas.items()
        ),
        features=full.features,
    )


def _route(
    document: RouteDocument, upstreams: dict[str, Upstream], profiles: dict[str, CorsDocument]
) -> Route:
    return Route(
        name=document.name,
        path=document.match.path,
        methods=frozenset(with_head(document.match.methods or ())),
        hosts=frozenset(document.match.hosts or ()),
        upstream=upstreams[document.upstream],
        requires=frozenset(document.requires),
        charges=MappingProxyType(dict(document.charges)),
        forward_credentials=document.forward_credentials,
        timeouts=route_timeouts(document.timeouts, upstreams[document.upstream].timeouts),
        max_body_bytes=_most_bytes(document.max_body),
        cors=compile_cors(profiles[document.cors], document.match.methods) if document.cors else None,
    )


def _most_bytes(size: str | None) -> int | None:
    if size is None:
        return None
    most = size_bytes(size)
    return NO_LIMIT if most is None else most

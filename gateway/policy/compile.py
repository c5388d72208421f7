"""From checked documents to the immutable snapshot that calls are decided by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.model.billing import USUAL
from gateway.model.policies import (
    AdmissionMode,
    LimitFields,
    Meter,
    OnStoreLoss,
    PolicySet,
    Price,
    Tier,
)
from gateway.policy.compile_access import compile_issuer
from gateway.policy.compile_billing import compile_bill_on, compile_billing
from gateway.policy.compile_limits import compile_concurrency, compile_limit, compile_quota
from gateway.policy.compile_routes import compile_route, with_billing, without_limit_fields
from gateway.policy.compile_upstreams import compile_upstream
from gateway.policy.documents import AdmissionDocument, TierDocument
from gateway.policy.extends import FullTier, full_tiers
from gateway.policy.merge import Merged
from gateway.policy.meters import BUILT_IN_METERS
from gateway.policy.scope_texts import claims_in
from gateway.policy.texts import duration_ms


def compile_policies(merged: Merged, digest: str) -> PolicySet:
    """The snapshot of a folder in which `check` found nothing."""
    written = merged.good_upstreams()
    upstreams = {name: compile_upstream(name, document) for name, document in written.items()}
    meters = {name: Meter(name, unit) for name, unit in BUILT_IN_METERS.items()}
    declared = merged.good_meters()
    meters |= {name: Meter(name, meter.unit, meter.scale) for name, meter in declared.items()}
    bill_on = compile_bill_on(merged.bill_on.document if merged.bill_on else None, USUAL)
    profiles = merged.good_cors()
    documents = merged.good_tiers()
    counted = _counted_claims(documents)
    issuers = {name: compile_issuer(name, one, counted) for name, one in merged.good_issuers().items()}
    tiers = {name: _tier(name, documents[name], full) for name, full in full_tiers(documents).items()}
    routes = [
        with_billing(
            compile_route(entry.document, upstreams, written, profiles, issuers),
            compile_billing(entry.document, bill_on, declared),
        )
        for entry in merged.routes
        if entry.document
    ]
    admission = (merged.admission and merged.admission.document) or AdmissionDocument()
    if LimitFields(admission.headers) is LimitFields.LEGACY:
        routes = [without_limit_fields(route) for route in routes]
    return PolicySet(
        digest=digest,
        upstreams=MappingProxyType(upstreams),
        meters=MappingProxyType(meters),
        tiers=MappingProxyType(tiers),
        routes=tuple(routes),
        upgrade_url=merged.upgrade_url.document if merged.upgrade_url else None,
        admission_mode=AdmissionMode(admission.mode),
        on_store_loss=OnStoreLoss(admission.on_store_loss),
        limit_fields=LimitFields(admission.headers),
        retry_jitter_ms=duration_ms(admission.retry_jitter) if admission.retry_jitter else 0,
    )


def _counted_claims(tiers: Mapping[str, TierDocument]) -> tuple[str, ...]:
    """Claims of tokens that some limit tells callers apart by."""
    scopes = [limit.scope for tier in tiers.values() for limit in tier.limits]
    scopes += [limit.scope for tier in tiers.values() for limit in tier.concurrency]
    return tuple(sorted({claim for scope in scopes for claim in claims_in(scope)}))


def _tier(name: str, document: TierDocument, full: FullTier) -> Tier:
    price = document.price
    return Tier(
        name=name,
        title=document.title or name,
        price=Price(price.amount, price.currency, price.per) if price else None,
        limits=tuple(compile_limit(key, limit) for key, limit in full.limits.items()),
        quotas=tuple(
            compile_quota(key, quota, price.currency if price else "") for key, quota in full.quotas.items()
        ),
        features=full.features,
        mode=AdmissionMode(full.admission) if full.admission else None,
        concurrency=tuple(compile_concurrency(key, limit) for key, limit in full.concurrency.items()),
    )

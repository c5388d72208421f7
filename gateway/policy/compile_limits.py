"""Limits and costs, from checked documents to what calls are decided by."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from gateway.model.costs import Cost
from gateway.model.overage import NOTIFY, Overage
from gateway.model.periods import parse_period
from gateway.model.policies import ConcurrencyLimit, Limit, OnFull, Quota
from gateway.policy.billing_documents import ChargeDocument
from gateway.policy.concurrency_documents import ConcurrencyDocument
from gateway.policy.cost_documents import CostDocument
from gateway.policy.documents import LimitDocument
from gateway.policy.quota_documents import QuotaDocument
from gateway.policy.scope_texts import scope
from gateway.policy.texts import duration_ms, rate_parts


def compile_limit(name: str, document: LimitDocument) -> Limit:
    """A token bucket."""
    tokens, period_ms = rate_parts(document.rate)
    routes = frozenset(document.routes or ())
    return Limit(
        name,
        tokens,
        period_ms,
        document.burst,
        scope(document.scope),
        routes,
        document.enforced,
        document.meter or "",
    )


def compile_quota(name: str, document: QuotaDocument, currency: str) -> Quota:
    """An amount per period. `currency`: that of its tier's price, for overage."""
    written = document.overage
    return Quota(
        name,
        document.meter,
        document.amount,
        parse_period(document.per),
        document.enforced,
        soft=document.soft,
        overage=Overage(written.amount, currency, written.per_units) if written else None,
        notify=NOTIFY if document.notify is None else tuple(document.notify),
    )


def compile_concurrency(name: str, document: ConcurrencyDocument) -> ConcurrencyLimit:
    """How many calls at once."""
    limit = ConcurrencyLimit(
        name,
        document.max,
        OnFull(document.on_full),
        scope=scope(document.scope),
        routes=frozenset(document.routes or ()),
        enforce=document.enforced,
    )
    return limit if document.wait is None else replace(limit, wait_s=duration_ms(document.wait) / 1000)


def compile_cost(document: CostDocument) -> Cost:
    """What a call costs, as far as it is known before it; GET includes HEAD."""
    if isinstance(document, ChargeDocument) and document.sources:
        return Cost(document.reserve)
    methods = dict(document.methods)
    if "GET" in methods:
        methods.setdefault("HEAD", methods["GET"])
    return Cost(document.units, MappingProxyType(methods), document.per_kib)

"""Limits and costs, from checked documents to what calls are decided by."""

from __future__ import annotations

from types import MappingProxyType

from gateway.model.policies import Cost, Limit, Period, Quota
from gateway.policy.cost_documents import CostDocument
from gateway.policy.documents import LimitDocument, QuotaDocument
from gateway.policy.scope_texts import scope
from gateway.policy.texts import rate_parts


def compile_limit(name: str, document: LimitDocument) -> Limit:
    """A token bucket."""
    tokens, period_ms = rate_parts(document.rate)
    routes = frozenset(document.routes or ())
    return Limit(name, tokens, period_ms, document.burst, scope(document.scope), routes, document.enforced)


def compile_quota(name: str, document: QuotaDocument) -> Quota:
    """An amount per period."""
    return Quota(name, document.meter, document.amount, Period(document.per), document.enforced)


def compile_cost(document: CostDocument) -> Cost:
    """What a call costs; GET includes HEAD."""
    methods = dict(document.methods)
    if "GET" in methods:
        methods.setdefault("HEAD", methods["GET"])
    return Cost(document.units, MappingProxyType(methods), document.per_kib)

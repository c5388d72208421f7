"""Tiers with what they inherit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.policy.concurrency_documents import ConcurrencyDocument
from gateway.policy.documents import LimitDocument, TierDocument
from gateway.policy.quota_documents import QuotaDocument


@dataclass(frozen=True, slots=True)
class FullTier:
    """What a tier allows with everything it extends. Quotas by name, in order of appearance."""

    limits: Mapping[str, LimitDocument]
    quotas: Mapping[str, QuotaDocument]
    features: frozenset[str]
    admission: str | None = None
    concurrency: Mapping[str, ConcurrencyDocument] = field(default_factory=dict)


def quota_name(quota: QuotaDocument) -> str:
    """What a quota is called: its meter unless it says otherwise."""
    return quota.name or quota.meter


def lineage(name: str, tiers: Mapping[str, TierDocument]) -> list[str] | None:
    """A tier and those it extends, the tier itself first. None: it extends itself or something unknown."""
    line: list[str] = []
    step: str | None = name
    while step is not None:
        if step in line or step not in tiers:
            return None
        line.append(step)
        step = tiers[step].extends
    return line


def full_tiers(tiers: Mapping[str, TierDocument]) -> dict[str, FullTier]:
    """Every tier whose lineage is sound, in the given order."""
    lines = {name: lineage(name, tiers) for name in tiers}
    return {name: _unite([tiers[step] for step in reversed(line)]) for name, line in lines.items() if line}


def _unite(line: list[TierDocument]) -> FullTier:
    """Oldest first: later limits, quotas and concurrency replace those of the same name, features add up."""
    limits: dict[str, LimitDocument] = {}
    quotas: dict[str, QuotaDocument] = {}
    features: set[str] = set()
    admission: str | None = None
    concurrency: dict[str, ConcurrencyDocument] = {}
    for tier in line:
        limits.update({limit.name: limit for limit in tier.limits})
        quotas.update({quota_name(quota): quota for quota in tier.quotas})
        features.update(tier.features)
        admission = tier.admission or admission
        concurrency.update({limit.name: limit for limit in tier.concurrency})
    return FullTier(limits, quotas, frozenset(features), admission, concurrency)

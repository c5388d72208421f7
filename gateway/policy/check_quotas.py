"""What quotas say about calls beyond their amount, and about events."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.policy.documents import TierDocument
from gateway.policy.extends import FullTier
from gateway.policy.merge import Entry
from gateway.policy.problems import Problems, listed
from gateway.policy.quota_documents import QuotaDocument


def check_quotas(
    entry: Entry[TierDocument], tier: TierDocument, full: FullTier | None, problems: Problems
) -> None:
    """Note what contradicts itself, and overage that nobody could be charged for."""
    for position, quota in enumerate(tier.quotas):
        for key, message in _contradictions(quota):
            problems.add(entry.problem(message, "quotas", position, key))
    priceless = [name for name, quota in full.quotas.items() if quota.overage] if full else []
    if priceless and tier.price is None:
        message = (
            f"has a quota with overage, {listed(priceless)}, and no `price` to say its currency; "
            "give it one, of 0 if need be"
        )
        problems.add(entry.problem(message))


def _contradictions(quota: QuotaDocument) -> Iterator[tuple[str, str]]:
    if quota.soft and quota.overage:
        yield "soft", "says that calls beyond the amount pass, as `overage` does; remove one of them"
    percents = quota.notify or []
    if percents != sorted(set(percents)):
        yield "notify", "must ascend, each once"
    elif percents and percents[-1] > 100 and not (quota.soft or quota.overage):
        yield "notify", f"says {percents[-1]}, which is never reached: at 100 calls are refused"

"""Units that were booked outside of calls, counted in the quotas that they pay into."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from gateway.admission.counters import QuotaCounters, QuotaPeriod
from gateway.admission.period import period_at
from gateway.errors import StoreUnavailable
from gateway.ledger.entries import Counted, Holder
from gateway.model.periods import Period
from gateway.model.policies import Tier

WITHIN_S = 2.0

log = logging.getLogger("tollway.admission")


async def count_posted(counters: QuotaCounters, tiers: Mapping[str, Tier], new: Iterable[Counted]) -> None:
    """Count what is about to be committed. Never raises for want of Redis: reconciliation catches up.

    Called within the transaction that books. A comparison that falls in between finds the counter ahead, and
    leaves it alone for a while; were it counted after the commit, it could be counted twice.
    """
    units: Counter[QuotaPeriod] = Counter()
    for one in new:
        for period in _periods(one, tiers.get(one.holder.tier)):
            units[period] += one.quantity
    if not units:
        return
    try:
        async with asyncio.timeout(WITHIN_S):
            await counters.add(units, await counters.now_us())
    except (StoreUnavailable, TimeoutError) as error:
        log.warning(
            "posted usage is not counted in quotas until the next reconciliation", extra={"error": str(error)}
        )


def billing_month(holder: Holder, at: datetime) -> tuple[datetime, datetime]:
    """The month that an account's usage at an instant belongs to."""
    start, end = period_at(Period.MONTH, _microseconds(at), holder.calendar)
    return datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)


def _periods(one: Counted, tier: Tier | None) -> set[QuotaPeriod]:
    """Each once: quotas on one meter and kind of period share a counter."""
    if tier is None:
        return set()
    at_us = _microseconds(one.happened_at)
    return {
        QuotaPeriod(
            one.holder.number,
            one.mode,
            one.meter,
            quota.per,
            period_at(quota.per, at_us, one.holder.calendar),
        )
        for quota in tier.quotas
        if quota.meter == one.meter
    }


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)

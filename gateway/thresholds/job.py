"""The job that books events. Any number of control processes may do so at the same time."""

from __future__ import annotations

import asyncio
import logging

from gateway.admission.crossings import Crossing, Crossings
from gateway.errors import StoreUnavailable
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.quota_events import NewQuotaEvent, QuotaEvent, QuotaEvents
from gateway.telemetry.slots import Slots

EVERY_S = 1.0

log = logging.getLogger("tollway.thresholds")


async def book_forever(
    crossings: Crossings, events: QuotaEvents, slots: Slots, interval_s: float = EVERY_S
) -> None:
    """Book what was reached, every second. What can not be booked stays where it is, and is tried again."""
    failing = False
    while True:
        try:
            await book_once(crossings, events, slots)
        except (StoreUnavailable, LedgerUnavailable) as error:
            if not failing:
                failing = True
                log.error("events of quotas can not be booked", extra={"error": str(error)})  # noqa: TRY400  says it all
        else:
            if failing:
                failing = False
                log.info("events of quotas are booked again")
        await asyncio.sleep(interval_s)


async def book_once(crossings: Crossings, events: QuotaEvents, slots: Slots) -> int:
    """Book some of those that are there. How many were new; raises StoreUnavailable or LedgerUnavailable."""
    found = await crossings.fetch()
    new = await events.book([_event(one) for one in found.values()])
    await crossings.forget(
        list(found)
    )  # only then: whoever dies in between books again, which changes nothing
    for one in new:
        slots.add("quota_events_total", 1, _kind(one.threshold))
        _tell(one)
    return len(new)


def _event(one: Crossing) -> NewQuotaEvent:
    period = one.period
    return NewQuotaEvent(
        at_ms=one.at_ms,
        account_id=period.account_id,
        mode=period.mode,
        quota=one.quota,
        meter=period.meter,
        per=period.per.text,
        start_s=period.span.start_s,
        end_s=period.span.end_s,
        amount=one.amount,
        used=one.used,
        threshold=one.percent,
    )


def _kind(threshold: int) -> str:
    if threshold == 100:
        return "full"
    return "below" if threshold < 100 else "beyond"


def _tell(one: QuotaEvent) -> None:
    account = one.account or "unknown"
    log.info(
        "an account has used %d %% of its quota %s",
        one.threshold,
        one.quota,
        extra={"account": account, "count": one.used},
    )

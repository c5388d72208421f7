"""Quota counters of an account that goes over to other periods or quotas, raised before it does.

A counter that does not exist yet says that nothing was used. So what was used goes into it before the change
is committed: no worker names the new period earlier.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping

from gateway.accounts.records import Account
from gateway.admission.counters import Move, QuotaCounters, QuotaPeriod
from gateway.admission.period import period_at
from gateway.errors import StoreUnavailable
from gateway.ledger.quotas import booked_units
from gateway.model.policies import PolicySet, Tier
from gateway.model.principal import Mode
from gateway.storage.postgres import Connection

WITHIN_S = 2.0
"""For each word with Redis."""

log = logging.getLogger("tollway.admission")


async def count_moved(
    counters: QuotaCounters, connection: Connection, policies: PolicySet, before: Account, after: Account
) -> None:
    """Take what was used along to the counters that the account will have. Within the transaction that
    changes it, and last: what is rolled back afterwards goes on being counted in both.

    Never raises for want of Redis: reconciliation catches up.
    """
    if (before.tier, before.calendar) == (after.tier, after.calendar):
        return
    try:
        async with asyncio.timeout(WITHIN_S):
            now_us = await counters.now_us()
        old, new = _periods(before, policies, now_us), _periods(after, policies, now_us)
        if not new - old:
            return
        periods = list(old | new)
        units = await booked_units(connection, after.id, [_what(one) for one in periods])
        booked = dict(zip(periods, units, strict=True))
        async with asyncio.timeout(WITHIN_S):
            for mode in Mode:
                await counters.move(Move(*_of(mode, booked, old - new, old & new, new - old)))
    except (StoreUnavailable, TimeoutError) as error:
        log.warning(
            "an account's new quota counters are empty until the next reconciliation",
            extra={"error": str(error), "account": after.public_id},
        )


def _of(
    mode: Mode, booked: Mapping[QuotaPeriod, int], *parts: set[QuotaPeriod]
) -> Iterator[dict[QuotaPeriod, int]]:
    """Of each part those of a mode, with what is booked."""
    for part in parts:
        yield {one: booked[one] for one in part if one.mode is mode}


def _periods(account: Account, policies: PolicySet, now_us: int) -> set[QuotaPeriod]:
    """What its counters count now."""
    tier: Tier | None = policies.tiers.get(account.tier)
    return {
        QuotaPeriod(account.id, mode, quota.meter, quota.per, period_at(quota.per, now_us, account.calendar))
        for quota in (() if tier is None else tier.quotas)
        for mode in Mode
    }


def _what(one: QuotaPeriod) -> tuple[Mode, str, int, int]:
    return one.mode, one.meter, one.span.start_s, one.span.end_s

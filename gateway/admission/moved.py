"""Quota counters of an account that goes over to other periods or quotas, raised before it does.

A counter that does not exist yet says that nothing was used. So what was used goes into it before the change
is committed: no worker names the new period earlier.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from gateway.accounts.records import Account
from gateway.admission.counters import QuotaCounters, QuotaPeriod
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
    """Raise the counters that the account will have. Within the transaction that changes it.

    Never raises for want of Redis: reconciliation catches up.
    """
    if (before.tier, before.calendar) == (after.tier, after.calendar):
        return
    try:
        async with asyncio.timeout(WITHIN_S):
            now_us = await counters.now_us()
        old, new = _periods(before, policies, now_us), _periods(after, policies, now_us)
        # The old ones first: what is booked meanwhile is counted twice rather than not at all.
        periods = [*old, *(new - old)]
        booked = {one: await booked_units(connection, one.account_id, *_what(one)) for one in periods}
        async with asyncio.timeout(WITHIN_S):
            pending = _pending(await counters.counted(list(old)), booked)
            for one in new:
                units = booked[one] + pending[one.mode, one.meter]
                if units > 0:
                    await counters.set_right(one, units, lower_from=None)
    except (StoreUnavailable, TimeoutError) as error:
        log.warning(
            "an account's new quota counters are empty until the next reconciliation",
            extra={"error": str(error), "account": after.public_id},
        )


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


def _pending(
    counted: dict[QuotaPeriod, int], booked: dict[QuotaPeriod, int]
) -> defaultdict[tuple[Mode, str], int]:
    """Units of each meter that were charged and are not booked yet: the most that a counter of it is ahead.

    Leases in hand and reserves of open calls are in it. What of these comes back goes to the old counter; the
    comparison with the ledger lowers the new one.
    """
    found: defaultdict[tuple[Mode, str], int] = defaultdict(int)
    for one, units in counted.items():
        what = one.mode, one.meter
        found[what] = max(found[what], units - booked[one])
    return found

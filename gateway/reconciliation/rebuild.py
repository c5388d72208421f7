"""Quota counters rebuilt from the ledger, after a Redis that may have lost some.

What an account has used in a period is what the ledger has booked and what its open calls will pay. The
ledger has it once the recorders of all journals have come beyond the loss; who is not heard of in time is
not waited for, and what he books later is found by the comparison with the ledger.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.admission.counters import QuotaCounters, QuotaPeriod
from gateway.admission.period import Span, period_at
from gateway.ledger.quotas import BookedView, JournalState, OpenUnits, QuotaLedger
from gateway.model.periods import IN_UTC, Calendar, Period
from gateway.model.policies import PolicySet
from gateway.reconciliation.standing import BEGUN_WITHIN

WAIT_S = 10.0
"""For recorders. Usually they have told within two seconds."""
LOOK_EVERY_S = 0.1
SILENT_AFTER = timedelta(minutes=1)
"""A journal of which nothing was heard for so long before the loss: its recorder is gone."""
BATCH = 500
"""Counters written by one script call: a few milliseconds of Redis's time."""

Units = tuple[QuotaPeriod, int]
Kind = tuple[str, Period]


class Interrupted(Exception):
    """Redis lost data while counters were rebuilt, or somebody else began anew. Try again."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done. `unheard`: journals that were not waited for any longer."""

    counters: int
    unheard: frozenset[str]


class Rebuilder:
    """Rebuilds the counters of all accounts, in batches: memory does not grow with their number.

    `server`: what Redis is called, whatever it calls itself. Everything raises StoreUnavailable,
    LedgerUnavailable or Interrupted; then nobody vouches for the counters yet.
    """

    def __init__(
        self,
        ledger: QuotaLedger,
        counters: QuotaCounters,
        policies: Callable[[], PolicySet | None],
        *,
        server: str | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        self._ledger, self._counters, self._policies = ledger, counters, policies
        self._server = server
        self._wait_s = wait_s

    @property
    def misses_restarts(self) -> bool:
        """Whether Redis is called the same whatever it was started with, be it an older snapshot."""
        return self._server is not None

    async def is_due(self) -> bool:
        """Whether nobody vouches for the counters of this Redis."""
        return await self._counters.vouched_for() != await self._name()

    async def is_complete(self) -> bool:
        """Whether the ledger has all there is: no journal is being written."""
        return all(one.closed for one in (await self._ledger.journals(())).values())

    async def rebuild(self) -> Rebuilt:
        """Wait until the ledger has what was charged before the loss, raise all counters, vouch for them."""
        token, server = secrets.token_hex(8), await self._name()
        await self._counters.begin_rebuild(token)
        number, asked_at = await self._ledger.ask_rebuild(server)
        deadline_s = asyncio.get_running_loop().time() + self._wait_s
        while True:
            is_last = asyncio.get_running_loop().time() >= deadline_s
            async with self._ledger.view() as view:
                unheard = behind(asked_at + BEGUN_WITHIN, await view.journals())
                if not unheard or is_last:
                    count = await self._raise_all(view, token)
                    break
            await asyncio.sleep(LOOK_EVERY_S)
        if not await self._counters.raise_all(token, [], vouch_for=server):
            raise Interrupted("Redis lost data while quota counters were rebuilt")
        await self._ledger.note_rebuilt(number, count)
        return Rebuilt(count, frozenset(unheard))

    async def catch_up(self) -> None:
        """Raise what was booked and is not counted, as calls are that passed uncharged during a rebuild."""
        token = secrets.token_hex(8)
        await self._counters.begin_rebuild(token)
        async with self._ledger.view() as view:
            await self._raise_all(view, token)

    async def _name(self) -> str:
        return self._server or await self._counters.server()

    async def _raise_all(self, view: BookedView, token: str) -> int:
        count, batch = 0, list[Units]()
        async for one in self._used(view, await self._counters.now_us()):
            batch.append(one)
            if len(batch) == BATCH:
                count += await self._raise(token, batch)
        return count + await self._raise(token, batch)

    async def _raise(self, token: str, batch: list[Units]) -> int:
        count = len(batch)
        if batch and not await self._counters.raise_all(token, batch):
            raise Interrupted("Redis lost data while quota counters were rebuilt")
        batch.clear()
        return count

    async def _used(self, view: BookedView, now_us: int) -> AsyncIterator[Units]:
        """What every account has used of every quota, in the present periods."""
        policies = self._policies()
        if policies is None:
            return
        kinds = {(quota.meter, quota.per) for tier in policies.tiers.values() for quota in tier.quotas}
        calendars, open_units = await view.calendars(), await view.open_units()
        of_accounts = await view.calendars_of({one.account_id for one in open_units})
        for meter, per in kinds:
            open_here = _open_in(open_units, of_accounts, (meter, per), now_us)
            async for period, units in _booked_in(view, calendars, (meter, per), now_us):
                yield period, units + open_here.pop(period, 0)
            for period, units in open_here.items():
                yield period, units


def behind(since: datetime, journals: dict[str, JournalState]) -> set[str]:
    """Journals of which it is not known that all written until `since` is booked, and what is open then."""
    return {
        name
        for name, one in journals.items()
        if not one.closed
        and (one.seen_at is None or one.seen_at > since - SILENT_AFTER)
        and (one.seen_at is None or one.seen_at < since or one.moved_since)
    }


async def _booked_in(
    view: BookedView, calendars: list[Calendar], kind: Kind, now_us: int
) -> AsyncIterator[Units]:
    """What every account has booked in its present period."""
    meter, per = kind
    utc = period_at(per, now_us)
    async for account_id, mode, units in view.booked(meter, per, *utc):
        yield QuotaPeriod(account_id, mode, meter, per, utc), units
    alike: defaultdict[Span, list[Calendar]] = defaultdict(list)
    for by in calendars:
        alike[period_at(per, now_us, by)].append(by)
    for span, those in alike.items():
        async for account_id, mode, units in view.booked_by(meter, *span, those):
            yield QuotaPeriod(account_id, mode, meter, per, span), units


def _open_in(
    open_units: list[OpenUnits], calendars: dict[int, Calendar], kind: Kind, now_us: int
) -> dict[QuotaPeriod, int]:
    """What open calls will pay in the present period of their account."""
    meter, per = kind
    found: dict[QuotaPeriod, int] = {}
    for one in open_units:
        span = period_at(per, now_us, calendars.get(one.account_id, IN_UTC))
        if one.meter == meter and span.start_s <= one.started_s < span.end_s:
            period = QuotaPeriod(one.account_id, one.mode, meter, per, span)
            found[period] = found.get(period, 0) + one.units
    return found

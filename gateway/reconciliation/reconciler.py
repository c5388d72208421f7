"""Looks at all counters and the ledger, says how they differ, and sets right what may be set right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.admission.counters import QuotaCounters, QuotaPeriod
from gateway.admission.period import Span, period_at
from gateway.ledger.quotas import Drift, KnownAccount, QuotaLedger
from gateway.model.periods import IN_UTC, Calendar, Period
from gateway.model.policies import PolicySet
from gateway.reconciliation.standing import Look, Standing, standing

QUIET_S = 15.0
"""Between two looks that say the same. A recorder tells every ten seconds how far it is."""

Counts = dict[str, set[tuple[str, Period]]]
"""Tier -> meters and kinds of periods that its quotas count."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One counter that is not what the ledger says."""

    period: QuotaPeriod
    account: str  # public id; the number if there is no such account
    counted: int
    booked: int
    standing: Standing
    repaired: bool


class Reconciler:
    """Compares again and again; what is ahead takes two looks. `policies`: None where nobody knows them.

    Without policies, counters that are missing altogether are not noticed. Everything raises StoreUnavailable
    or LedgerUnavailable; what was repaired until then stays so.
    """

    def __init__(
        self,
        ledger: QuotaLedger,
        counters: QuotaCounters,
        policies: Callable[[], PolicySet | None],
        *,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._ledger, self._counters, self._policies = ledger, counters, policies
        self._quiet_s = quiet_s
        self._before: Look | None = None

    async def look(self, *, repair: bool) -> list[Finding]:
        """Every counter of the present periods and those before that differs from the ledger."""
        now, before = await self._read(), self._before
        self._before = now
        found = {
            period: stands
            for period in now.figures
            if (stands := standing(period, before, now, self._quiet_s)) is not None
        }
        known = await self._ledger.accounts({period.account_id for period in found})
        findings = []
        for period, stands in sorted(found.items(), key=lambda one: one[0][0]):
            counted, booked = now.figures[period]
            repaired = repair and await self._repair(period, counted, booked, stands)
            account = known.get(period.account_id)
            name = str(period.account_id) if account is None else account.public_id
            findings.append(Finding(period, name, counted, booked, stands, repaired))
        if repair:
            closed = {name for name, state in now.journals.items() if state.closed}
            await self._counters.forget_journals(closed & now.announced)
        return findings

    async def _read(self) -> Look:
        now_us = await self._counters.now_us()
        announced = frozenset(await self._counters.journals(now_us))
        journals = await self._ledger.journals(announced)
        by_tier, calendars = _counts(self._policies()), await self._ledger.calendars()
        booked = await self._booked(set().union(*by_tier.values()), calendars, now_us)
        counted = {period: units async for period, units in self._counters.read()}
        # Counters of meters that no tier counts any more have their ledger, too.
        others = {(period.meter, period.per) for period in counted} - set().union(*by_tier.values())
        booked |= await self._booked(others, calendars, now_us)
        missing = await self._missing(booked.keys() - counted.keys(), by_tier, now_us)
        current = booked.keys() | await self._current(counted.keys() - booked.keys(), now_us)
        figures = {
            period: (units, booked.get(period, 0)) for period, units in counted.items() if period in current
        }
        figures |= {period: (0, booked[period]) for period in missing}
        return Look(await self._ledger.present_time(), figures, announced, journals)

    async def _booked(
        self, counts: set[tuple[str, Period]], calendars: list[Calendar], now_us: int
    ) -> dict[QuotaPeriod, int]:
        """Units in the present period and the one before, each account by its own calendar."""
        found: dict[QuotaPeriod, int] = {}
        for meter, per in counts:
            alike: defaultdict[Span, list[Calendar]] = defaultdict(list)
            for by in calendars:
                for span in _spans(per, now_us, by):
                    alike[span].append(by)
            told = [(span, await self._ledger.booked(meter, per, *span)) for span in _spans(per, now_us)]
            told += [
                (span, await self._ledger.booked_by(meter, *span, those)) for span, those in alike.items()
            ]
            for span, units in told:
                for (account_id, mode), quantity in units.items():
                    found[QuotaPeriod(account_id, mode, meter, per, span)] = quantity
        return found

    async def _current(self, unbooked: set[QuotaPeriod], now_us: int) -> set[QuotaPeriod]:
        """Those of the present period or the one before; a changed calendar leaves others behind."""
        known = await self._ledger.accounts({one.account_id for one in unbooked})
        return {
            one
            for one in unbooked
            if one.span in _spans(one.per, now_us, _calendar_of(known.get(one.account_id)))
        }

    async def _missing(self, uncounted: set[QuotaPeriod], by_tier: Counts, now_us: int) -> list[QuotaPeriod]:
        """Those without a counter that should have one: in the present period, if the tier counts it."""
        known = await self._ledger.accounts({one.account_id for one in uncounted})
        return [
            one
            for one in uncounted
            if (account := known.get(one.account_id)) is not None
            and one.span == period_at(one.per, now_us, account.calendar)
            and (one.meter, one.per) in by_tier.get(account.tier, ())
        ]

    async def _repair(self, period: QuotaPeriod, counted: int, booked: int, stands: Standing) -> bool:
        if stands is Standing.UNDER_WAY:
            return False
        lower_from = counted if stands is Standing.AHEAD else None
        if not await self._counters.set_right(period, booked, lower_from=lower_from):
            return False
        await self._ledger.note(Drift(*period[:4], period.span.start_s, counted, booked))
        return True


def _spans(per: Period, now_us: int, by: Calendar = IN_UTC) -> tuple[Span, Span]:
    """The present period and the one before."""
    span = period_at(per, now_us, by)
    return span, period_at(per, (span.start_s - 1) * 1_000_000, by)


def _calendar_of(account: KnownAccount | None) -> Calendar:
    return IN_UTC if account is None else account.calendar


def _counts(policies: PolicySet | None) -> Counts:
    if policies is None:
        return {}
    return {
        name: {(quota.meter, quota.per) for quota in tier.quotas} for name, tier in policies.tiers.items()
    }

"""What a billing page shows: an account's present period, its quotas, and periods that are over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.accounts.overrides import Overrides
from gateway.accounts.records import Account
from gateway.admission.period import Span, period_at
from gateway.controlplane import wording
from gateway.controlplane.accounts_api import ACCOUNT
from gateway.controlplane.bodies import Sent, answer, read_query
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.keyholders import VIEWER
from gateway.controlplane.problems import invalid
from gateway.controlplane.spans import Instant
from gateway.ledger.usage import PeriodUnits
from gateway.model.overage import Overage
from gateway.model.periods import Calendar, Period
from gateway.model.policies import Quota
from gateway.model.principal import Mode
from gateway.routing.rollout import Rollout
from gateway.routing.terms import with_overrides

HISTORY_MAX = 36
PROJECTED_AFTER_S = 3600
"""Less than that of a period says nothing about the rest of it."""


class PeriodQuestion(Sent):
    """How many periods that are over, and of which keys. `at`: as if it were then, by the ledger of today."""

    at: Instant | None = None
    history: Annotated[int, Field(ge=0, le=HISTORY_MAX)] = 12
    mode: Literal["live", "test"] | None = None


class DueDocument(TypedDict):
    """What units beyond a quota cost, and `due_minor`: what those of this period do."""

    amount_minor: int
    currency: str
    per_units: int
    text: str
    due_minor: int


class QuotaDocument(TypedDict):
    """What is used of one quota in a period. `projected`: at its end, at this pace.

    `beyond`: the total of the period less the amount. This is what is billed; marks of calls are not summed.
    """

    name: str
    meter: str
    per: str
    text: str
    amount: int
    used: int
    remaining: int
    beyond: int
    overage: DueDocument | None
    percent_used: float
    projected: int | None
    period_start: str | None
    resets_at: str | None


class MeterDocument(TypedDict):
    """Units of a meter in a period: all of them, and which of these were posted or corrected."""

    meter: str
    quantity: int
    posted: int
    corrections: int


class PeriodDocument(TypedDict):
    """A billing period and what was used in it."""

    start: str | None
    end: str | None
    calls: int
    meters: list[MeterDocument]


class BillingDocument(TypedDict):
    """What a billing page shows: quotas, the present period, and those before it, the latest first."""

    account: str
    tier: str
    mode: str
    billing_anchor: str | None
    time_zone: str
    at: str | None
    quotas: list[QuotaDocument]
    current: PeriodDocument
    history: list[PeriodDocument]


class PeriodApi:
    """Periods for operators, and for customers on the portal."""

    def __init__(self, with_: Collaborators) -> None:
        self._with = with_
        self._overrides = Overrides(with_.pool, with_.accounts)

    def endpoints(self) -> list[Endpoint]:
        """The address below `/admin/v1`."""
        query = PeriodQuestion
        path = f"{ACCOUNT}/period"
        return [Endpoint("GET", path, self.get_period, "usage:read", BillingDocument, query=query)]

    def own_endpoints(self) -> list[Endpoint]:
        """The address below `/api/v1`."""
        query = PeriodQuestion
        return [Endpoint("GET", "/period", self.get_own_period, "usage:read", BillingDocument, query=query)]

    async def get_period(self, request: web.Request) -> web.Response:
        """The account's present period with its quotas, and periods that are over."""
        asked = read_query(request, PeriodQuestion)
        account = await self._with.accounts.get_account(request.match_info["account"])
        return answer(await self.billing(account, Mode(asked.mode or "live"), asked))

    async def get_own_period(self, request: web.Request) -> web.Response:
        """The present period with its quotas, and periods that are over. A key sees those of its mode."""
        asked, viewer = read_query(request, PeriodQuestion), request[VIEWER]
        if viewer.key is not None and asked.mode not in (None, viewer.mode.value):
            raise invalid([("mode", "is that of the key that asks, unless a member asks")])
        account = await self._with.accounts.get_account(viewer.account)
        mode = viewer.mode if asked.mode is None else Mode(asked.mode)
        return answer(await self.billing(account, mode, asked))

    async def billing(self, account: Account, mode: Mode, asked: PeriodQuestion) -> BillingDocument:
        """The document of an account, for keys of a mode. Raises Problem."""
        at_us = _asked_us(asked.at, self._with.clock.now_us())
        spans = _spans(at_us, asked.history, account.calendar)
        rows = await self._with.usage.periods(
            account.id, [_at(span.start_s) for span in spans], _at(spans[-1].end_s), mode
        )
        periods = [_period(span, rows) for span in spans]
        return {
            "account": account.public_id,
            "tier": account.tier,
            "mode": mode.value,
            "billing_anchor": wording.account(account)["billing_anchor"],
            "time_zone": account.time_zone,
            "at": wording.instant_us(at_us),
            "quotas": await self._quotas(account, mode, at_us),
            "current": periods[-1],
            "history": periods[-2::-1],
        }

    async def _quotas(self, account: Account, mode: Mode, at_us: int) -> list[QuotaDocument]:
        now_us, is_billed = self._with.clock.now_us(), mode is Mode.LIVE and not account.internal
        found = []
        for quota in await self._quotas_of(account):
            span = period_at(quota.per, at_us, account.calendar)
            units = await self._with.usage.period_total(
                account.id, quota.meter, _at(span.start_s), _at(span.end_s), mode
            )
            found.append(_quota(quota, units, span, now_us=now_us, is_billed=is_billed))
        return found

    async def _quotas_of(self, account: Account) -> list[Quota]:
        """Those that hold for the account now: its tier's, with its special deals, without shadows."""
        policies = self._with.policies()
        tier = policies.tiers.get(account.tier)
        if tier is None:
            return []
        if deals := await self._overrides.of_account(account.public_id):
            tier = with_overrides(tier, deals)
        tier = Rollout(policies.tiers.values()).tier(tier, account.public_id)
        return [one for one in tier.quotas if not one.shadow]


def projected(used: int, span: Span, now_us: int) -> int | None:
    """What is used at the end of the period if it goes on like this; None while nobody can say."""
    length_s = span.end_s - span.start_s
    gone_s = min(now_us // 1_000_000 - span.start_s, length_s)
    return used * length_s // gone_s if gone_s >= min(PROJECTED_AFTER_S, length_s // 4) > 0 else None


def _spans(now_us: int, history: int, by: Calendar) -> list[Span]:
    """Billing periods, the present one last."""
    spans = [period_at(Period.MONTH, now_us, by)]
    for _ in range(history):
        spans.insert(0, period_at(Period.MONTH, (spans[0].start_s - 1) * 1_000_000, by))
    return spans


def _period(span: Span, rows: Sequence[PeriodUnits]) -> PeriodDocument:
    start = _at(span.start_s)
    mine = [row for row in rows if row.period_start == start]
    return {
        "start": wording.instant(start),
        "end": wording.instant(_at(span.end_s)),
        "calls": sum(row.calls for row in mine if row.meter == "api_calls"),
        "meters": [
            {
                "meter": row.meter,
                "quantity": row.quantity,
                "posted": row.posted,
                "corrections": row.corrections,
            }
            for row in mine
        ],
    }


def _quota(quota: Quota, units: int, span: Span, *, now_us: int, is_billed: bool) -> QuotaDocument:
    used = max(0, units)  # a correction may leave an hour or a day with less than nothing
    told, amount = wording.quota(quota), quota.amount
    beyond = max(0, used - amount)
    return {
        "name": quota.name,
        "meter": quota.meter,
        "per": str(told["per"]),
        "text": str(told["text"]),
        "amount": amount,
        "used": used,
        "remaining": max(0, amount - used),
        "beyond": beyond,
        "overage": None if quota.overage is None else _due(quota.overage, beyond if is_billed else 0),
        "percent_used": round(100 * used / amount, 2) if amount else 100.0,
        "projected": projected(used, span, now_us),
        "period_start": wording.instant(_at(span.start_s)),
        "resets_at": wording.instant(_at(span.end_s)),
    }


def _due(overage: Overage, beyond: int) -> DueDocument:
    return {
        "amount_minor": overage.amount_minor,
        "currency": overage.currency,
        "per_units": overage.per_units,
        "text": wording.overage_text(overage),
        "due_minor": overage.due_minor(beyond),
    }


def _asked_us(at: datetime | None, now_us: int) -> int:
    at_us = now_us if at is None else round(at.timestamp() * 1_000_000)
    if at_us > now_us:
        raise invalid([("at", "must not be in the future")])
    return at_us


def _at(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)

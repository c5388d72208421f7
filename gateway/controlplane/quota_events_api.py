"""`/admin/v1/quota-events`."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.accounts.store import Accounts
from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, read_query
from gateway.controlplane.endpoints import Endpoint
from gateway.ledger.quota_events import QuotaEvent, QuotaEvents
from gateway.model.principal import Mode


class QuotaEventsQuestion(Sent):
    """Whose events, newest first; `before` is the `next` of the page before."""

    account: str | None = None
    mode: Literal["live", "test"] | None = None
    before: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class QuotaEventDocument(TypedDict):
    """An account reached `threshold` percent of a quota."""

    id: int
    at: str | None
    account: str | None
    mode: str
    quota: str
    meter: str
    per: str
    period_start: str | None
    period_end: str | None
    amount: int
    used: int
    threshold: int


class QuotaEventList(TypedDict):
    """A page of events."""

    data: list[QuotaEventDocument]
    next: int | None


class QuotaEventsApi:
    """What operators, and what they connect, learn of quotas."""

    def __init__(self, events: QuotaEvents, accounts: Accounts) -> None:
        self._events, self._accounts = events, accounts

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint(
                "GET",
                "/quota-events",
                self.list_events,
                "usage:read",
                QuotaEventList,
                query=QuotaEventsQuestion,
                refuses=(404,),
            )
        ]

    async def list_events(self, request: web.Request) -> web.Response:
        """Thresholds of quotas that accounts reached, newest first: one event each per quota and period."""
        asked = read_query(request, QuotaEventsQuestion)
        if asked.account is not None:
            await self._accounts.get_account(asked.account)
        mode = None if asked.mode is None else Mode(asked.mode)
        found = await self._events.page(asked.limit, asked.before, asked.account, mode)
        following = found[-1].id if len(found) == asked.limit else None
        return answer({"data": [quota_event_document(one) for one in found], "next": following})


def quota_event_document(one: QuotaEvent) -> QuotaEventDocument:
    """An event, as the API and the command line show it."""
    return {
        "id": one.id,
        "at": wording.instant(one.at),
        "account": one.account,
        "mode": one.mode.value,
        "quota": one.quota,
        "meter": one.meter,
        "per": one.per,
        "period_start": wording.instant(one.period_start),
        "period_end": wording.instant(one.period_end),
        "amount": one.amount,
        "used": one.used,
        "threshold": one.threshold,
    }

"""`/admin/v1/usage`, and the documents of usage that the portal shows as well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from gateway.accounts.store import Accounts
from gateway.clock import Clock
from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, read_query
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.problems import invalid
from gateway.ledger.errors import InvalidCursor
from gateway.ledger.usage import MAX_EVENTS, MAX_SUMS, EventRow, Sums, Usage, UsageRow
from gateway.model.principal import Mode

LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=366), "month": timedelta(days=3660)}
"""The longest span that is answered in buckets of a size, so that answers stay readable."""


def _instant(value: object) -> datetime:
    """An instant as ISO 8601; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(str(value))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an instant like 2026-11-21T10:00:00Z, or a date") from None
    if not 2000 <= at.year < 3000:
        raise ValueError("must be from the years 2000 to 2999")
    return at


Instant = Annotated[datetime, BeforeValidator(_instant)]


class Span(Sent):
    """A span of time, by default the month so far, and how finely it is cut."""

    start: Annotated[Instant | None, Field(alias="from")] = None
    end: Annotated[Instant | None, Field(alias="to")] = None
    bucket: Literal["hour", "day", "month"] | None = None

    def bounds(self, now_us: int) -> tuple[datetime, datetime]:
        """From, and until but not including. Raises Problem when that is no span, or too long a one."""
        now = datetime.fromtimestamp(now_us / 1_000_000, UTC)
        end = self.end or now
        start = self.start or end.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if not start < end:
            raise invalid([("to", "must be later than `from`")])
        longest = LONGEST[self.bucket or "month"]
        if end - start > longest:
            raise invalid([("from", f"must be at most {longest.days} days before `to` for this bucket")])
        return start, end


class PagedSpan(Span):
    """A page of sums; `after` is the `next` of the page before."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_SUMS)] = 1000


class UsageQuestion(PagedSpan):
    """Whose usage, when, and of which keys."""

    account: str | None = None
    mode: Literal["live", "test"] | None = None


LimitName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class EventsQuestion(Sent):
    """Whose calls, newest first; `before` is the `next` of the page before.

    `refused_by`: only those that this limit refused; `shadow`: only those that it would have refused.
    """

    account: str | None = None
    refused_by: LimitName | None = None
    shadow: LimitName | None = None
    before: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_EVENTS)] = 100


class SumDocument(TypedDict):
    """Units of one meter within one bucket."""

    bucket_start: str | None
    account: str | None
    key: str | None
    route: str
    mode: str
    outcome: str
    meter: str
    quantity: int
    events: int


class EventDocument(TypedDict):
    """One call as it was booked."""

    request_id: str
    started_at: str | None
    account: str | None
    key: str | None
    mode: str
    tier: str
    route: str
    upstream: str
    method: str
    outcome: str
    status: int
    ingress_bytes: int
    egress_bytes: int
    ingress_messages: int
    egress_messages: int
    duration_us: int
    first_byte_us: int
    charges: dict[str, int]
    code: str | None
    refused_by: list[str]
    shadows: list[str]


UsagePage = TypedDict(
    "UsagePage",
    {
        "from": "str | None",
        "to": "str | None",
        "bucket": "str | None",
        "data": list[SumDocument],
        "next": "str | None",
    },
)
"""A page of sums with the question they answer."""


class EventList(TypedDict):
    """A page of calls."""

    data: list[EventDocument]
    next: str | None


class UsageApi:
    """What operators ask the ledger."""

    def __init__(self, usage: Usage, accounts: Accounts, clock: Clock) -> None:
        self._usage, self._accounts, self._clock = usage, accounts, clock

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint(
                "GET", "/usage", self.get_usage, "usage:read", UsagePage, query=UsageQuestion, refuses=(404,)
            ),
            Endpoint(
                "GET",
                "/usage/events",
                self.list_events,
                "usage:read",
                EventList,
                query=EventsQuestion,
                refuses=(404,),
            ),
        ]

    async def get_usage(self, request: web.Request) -> web.Response:
        """Sums of a span of time, of one account or of all."""
        asked = read_query(request, UsageQuestion)
        start, end = asked.bounds(self._clock.now_us())
        if asked.account is not None:
            await self._accounts.get_account(asked.account)
        mode = None if asked.mode is None else Mode(asked.mode)
        return answer(
            await usage_page(self._usage, asked, Sums(asked.account, start, end, asked.bucket, mode))
        )

    async def list_events(self, request: web.Request) -> web.Response:
        """Single calls, newest first."""
        asked = read_query(request, EventsQuestion)
        if asked.account is not None:
            await self._accounts.get_account(asked.account)
        try:
            rows = await self._usage.events(
                asked.account, asked.limit, asked.before, refused_by=asked.refused_by, shadow=asked.shadow
            )
        except InvalidCursor as error:
            raise invalid([("before", str(error))]) from error
        following = rows[-1].cursor if len(rows) == asked.limit else None
        return answer({"data": [event_document(row) for row in rows], "next": following})


async def usage_page(usage: Usage, asked: PagedSpan, sums: Sums) -> wording.Document:
    """One page of sums with the question they answer, and where they go on. Raises Problem."""
    try:
        rows, following = await usage.page(sums, asked.limit, asked.after)
    except InvalidCursor as error:
        raise invalid([("after", str(error))]) from error
    return {**usage_document(asked, sums.start, sums.end, rows), "next": following}


def usage_document(asked: Span, start: datetime, end: datetime, rows: list[UsageRow]) -> wording.Document:
    """Sums with the question they answer."""
    return {
        "from": wording.instant(start),
        "to": wording.instant(end),
        "bucket": asked.bucket,
        "data": [_sum(row) for row in rows],
    }


def _sum(row: UsageRow) -> SumDocument:
    return {
        "bucket_start": wording.instant(row.bucket_start),
        "account": row.account,
        "key": row.key,
        "route": row.route,
        "mode": row.mode.value,
        "outcome": row.outcome,
        "meter": row.meter,
        "quantity": row.quantity,
        "events": row.events,
    }


def event_document(row: EventRow) -> EventDocument:
    """One call as it was booked."""
    return {
        "request_id": str(row.request_id),
        "started_at": wording.instant(row.started_at),
        "account": row.account,
        "key": row.key,
        "mode": row.mode.value,
        "tier": row.tier,
        "route": row.route,
        "upstream": row.upstream,
        "method": row.method,
        "outcome": row.outcome,
        "status": row.status,
        "ingress_bytes": row.ingress_bytes,
        "egress_bytes": row.egress_bytes,
        "ingress_messages": row.ingress_messages,
        "egress_messages": row.egress_messages,
        "duration_us": row.duration_us,
        "first_byte_us": row.first_byte_us,
        "charges": dict(row.charges),
        "code": row.code,
        "refused_by": list(row.refused_by),
        "shadows": list(row.shadows),
    }
